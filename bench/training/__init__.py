"""Training of a cohort: many runs as one stacked computation, each with the bits that it would have alone."""
