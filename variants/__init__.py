"""The variants: one file per method, found through the entry-point group `ssgan_bench.variants`."""
