"""The critical-difference diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from bench.analysis.aggregate import Aggregate
from bench.errors import UsageError
from bench.reporting.comparison import LEVEL
from bench.reporting.figures import check_format, save_figure


def cd_diagram(together: Sequence[Aggregate], path: Path) -> None:
    """A critical-difference diagram (Demsar 2006) per protocol: mean ranks, the best on the left.

    Bars join variants that Nemenyi's test does not tell apart at 5 %.

    Raises:
        UsageError: no protocol has three variants in two blocks, or a file type that cannot be written.
    """
    check_format(path, "--figure")
    drawn = [aggregate for aggregate in together if aggregate.critical_difference is not None]
    if not drawn:
        raise UsageError("a critical-difference diagram needs three variants that share two cells of one protocol.")
    heights = [1.2 + 0.25 * aggregate.means.shape[1] for aggregate in drawn]
    figure, axes = plt.subplots(
        len(drawn), 1, figsize=(8, sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axis, aggregate in zip(axes[:, 0], drawn, strict=True):
        _draw(axis, aggregate)
    save_figure(figure, path, option="--figure")


def _draw(axis: plt.Axes, aggregate: Aggregate) -> None:
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman

    ranks = aggregate.variants.set_index("variant")["rank"]
    alike = posthoc_nemenyi_friedman(aggregate.means.to_numpy()).set_axis(ranks.index).set_axis(ranks.index, axis=1)
    critical_difference_diagram(
        ranks, alike, alpha=LEVEL, ax=axis, label_props={"parse_math": False},
        label_fmt_left="{label} ({rank:.2f})", label_fmt_right="({rank:.2f}) {label}",
    )  # fmt: skip
    gap = f"critical difference {aggregate.critical_difference:.2f}"
    axis.set_title(f"{aggregate.protocol}: mean rank over {len(aggregate.means)} cells, {gap}", parse_math=False)
