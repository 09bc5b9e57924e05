"""Figures: each kind is a file with one function `draw`, which makes a figure of a `Material`; `kinds` lists them."""

NAMES = (
    *("budgets", "seeds", "differences", "curves", "seconds", "losses"),
    *("ranks", "ablation", "published", "cost", "samples", "circles"),
)
