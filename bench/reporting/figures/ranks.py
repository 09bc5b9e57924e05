"""The critical-difference diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.aggregate import Aggregate, aggregates
from bench.errors import UsageError, shorten
from bench.reporting.comparison import LEVEL
from bench.reporting.figures.panels import WIDTH, arranged, policy_label
from bench.reporting.figures.saving import check_format, save_figure
from bench.reporting.figures.style import INK, styled
from bench.reporting.material import Material

LETTERS = 44  # of a variant and its rank
NEEDS = "a critical-difference diagram needs three variants that share two cells of one protocol."


@styled
def draw(material: Material) -> Figure | None:
    """None where no protocol has three variants in two blocks."""
    return diagram(aggregates(material.frame, material.metric), policy_label(material))


def cd_diagram(together: Sequence[Aggregate], path: Path) -> None:
    """Writes the diagram for `bench compare`.

    Raises:
        UsageError: no protocol has three variants in two blocks, or a file type that cannot be written.
    """
    check_format(path, "--figure")
    figure = diagram(together)
    if figure is None:
        raise UsageError(NEEDS)
    save_figure(figure, path, "--figure")


@styled
def diagram(together: Sequence[Aggregate], policy: str = "") -> Figure | None:
    """A critical-difference diagram (Demsar 2006) per protocol: mean ranks, the best on the left.

    Bars join variants that Nemenyi's test does not tell apart at 5 %.
    """
    drawn = [aggregate for aggregate in together if aggregate.critical_difference is not None]
    if not drawn:
        return None
    heights = [1.2 + 0.25 * aggregate.means.shape[1] for aggregate in drawn]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    panels = figure.subplots(len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, aggregate in zip(panels, drawn, strict=True):
        _draw(panel, aggregate, policy)
    return arranged(figure)


def _draw(panel: Axes, aggregate: Aggregate, policy: str) -> None:
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman

    ranks = aggregate.variants.set_index("variant")["rank"]
    alike = posthoc_nemenyi_friedman(aggregate.means.to_numpy()).set_axis(ranks.index).set_axis(ranks.index, axis=1)
    panel.grid(visible=False)
    drawn = critical_difference_diagram(
        ranks, alike, alpha=LEVEL, ax=panel,
        label_fmt_left="{label} ({rank:.2f})", label_fmt_right="({rank:.2f}) {label}",
        text_h_margin=0.012 * (ranks.max() - ranks.min()), color_palette=dict.fromkeys(ranks.index, INK),
        elbow_props={"linewidth": 1}, crossbar_props={"linewidth": 3},
    )  # fmt: skip
    for (bar,) in drawn["crossbars"]:  # whose points come in the order of a set, another one in each process
        bar.set_xdata(sorted(bar.get_xdata()))
    for label in drawn["labels"]:
        label.set_text(shorten(label.get_text(), LETTERS))
    panel.margins(x=0.02)
    datasets = ", ".join(dict.fromkeys(aggregate.means.index.get_level_values("dataset")))
    gap = f"critical difference {aggregate.critical_difference:.2f}"
    title = (
        f"{shorten(f'{datasets}, {aggregate.protocol}')}: mean rank over {len(aggregate.means)} cells, {gap}{policy}"
    )
    panel.set_title(title, pad=12)
