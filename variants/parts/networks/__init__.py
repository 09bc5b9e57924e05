"""The papers' networks, built from `variants.parts.layers`."""
