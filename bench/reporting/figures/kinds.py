"""All kinds of figures, with what a reader has to know about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from bench.reporting.figures import (
    NAMES,
    ablation,
    budgets,
    circles,
    cost,
    curves,
    differences,
    losses,
    published,
    ranks,
    samples,
    seconds,
    seeds,
)  # fmt: skip
from bench.reporting.material import Material


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes:
        caption: what is shown, and what bars and bands mean.
        needs: what to do where there is nothing to draw.
        draw: None where these runs have nothing of the kind.
        reads: which of the material's `policy` and `metric` the figure depends on.
    """

    name: str
    title: str
    caption: str
    needs: str
    draw: Callable[[Material], Figure | None]
    reads: tuple[str, ...] = ()


BOTH = ("policy", "metric")
RUNS = "there are no finished runs to draw. Make some with `bench run`."
CURVES = (
    "Bold: the mean over the seeds that were done, with its 95 % Student-t interval as a band (as bars where there are "
    "three evaluations or fewer); faint: every seed, those that diverged, too, which are counted as lost and enter no "
    "mean. With more than six variants each has a panel of its own, the means of `supervised` in grey beside."
)

_ALL = (
    Kind(
        "budgets",
        "Accuracy against the number of labels",
        "The mean over seeds with its 95 % Student-t interval, for each number of labelled training images "
        "(logarithmic axis; variants are shifted sideways a little so that they do not cover each other). Hollow: "
        "published numbers of the variants' own recipes, where they exist.",
        "accuracy against labels needs runs with two numbers of labels on one dataset, or one and a published number. "
        "Make some with `bench run --labels 20,50`.",
        budgets.draw,
        BOTH,
    ),
    Kind(
        "seeds",
        "Every seed",
        "One dot per run (moved up and down so that equal ones stay apart), the mean of each cell as a bar. Runs that "
        "failed or diverged have no dot; their number stands on the right as lost.",
        RUNS,
        seeds.draw,
        BOTH,
    ),
    Kind(
        "differences",
        "Differences to the baseline, paired by seed",
        "The mean over seeds of the difference to `supervised` (without it, to the first variant) on the same labelled "
        "images, with its 95 % Student-t interval, not corrected for the number of comparisons. Filled: the interval "
        "leaves out 0. Pairs in which a run failed or diverged are left out.",
        "differences need two variants that share a seed. Make some with `bench run --variants supervised,fm`.",
        differences.draw,
        BOTH,
    ),
    Kind(
        "curves",
        "Learning curves against steps",
        f"Test error along training. {CURVES} Triangles: curves that others have published, beside runs of the papers' "
        "recipes only.",
        RUNS,
        curves.draw,
    ),
    Kind(
        "seconds",
        "Learning curves against seconds",
        "Test error against the seconds of training that a run takes: runs are trained together in cohorts, and the "
        f"time of a cohort is shared out evenly among its runs. It depends on the machine. {CURVES}",
        RUNS,
        seconds.draw,
    ),
    Kind(
        "losses",
        "Losses of all players",
        "The loss of every player along training, at each variant's largest number of labels. Bold: the mean over the "
        "seeds that were done, with its 95 % Student-t interval; faint: every seed; a gap where a player did not train "
        "or its loss was not finite or beyond 10⁹. Losses of different variants are not comparable.",
        "no run here has logged a loss. Make some with `bench run`.",
        losses.draw,
    ),
    Kind(
        "ranks",
        "Critical-difference diagram",
        "Mean ranks over the cells in which every variant has a mean (1 is the best). A bar joins variants that "
        "Nemenyi's test at 5 % does not tell apart (Demsar 2006). Cells of one dataset are not independent.",
        f"{ranks.NEEDS} Make some with `bench run --variants supervised,fm,triple --labels 20,50`.",
        ranks.draw,
        BOTH,
    ),
    Kind(
        "ablation",
        "What each change of a recipe makes of it",
        "The mean over seeds of the difference between a changed variant and the same variant as it is, paired by "
        "seed, with its 95 % Student-t interval, not corrected for the number of changes. Dark: the interval "
        "leaves out 0.",
        "an ablation needs a variant beside itself with another recipe. Make one with `bench ablate --variant fm`.",
        ablation.draw,
        BOTH,
    ),
    Kind(
        "published",
        "Measured against published",
        "Each of our cells against each number that was published for its variant, dataset and number of labels; on "
        "the diagonal both are the same. Bars: the sample standard deviation of ours, and what stands behind the ± of "
        "theirs. Hollow: not comparable, for instance because our networks or length of training differ from the "
        "paper's (`bench compare --published` says why). Numbers lead to the list.",
        "nothing was published for these runs, or they are smoke runs. Make some with `bench run --dataset mnist "
        "--labels 100 --protocol paper`.",
        published.draw,
        ("policy",),
    ),
    Kind(
        "cost",
        "Accuracy against the cost of training",
        "The mean over seeds with its 95 % Student-t interval, against the floating point operations of all updates of "
        "a run (matrix products and convolutions; where they are known) and against its seconds of training (its "
        "cohort's, shared out evenly; they depend on the machine). Logarithmic axes of costs.",
        RUNS,
        cost.draw,
        BOTH,
    ),
    Kind(
        "samples",
        "Generated images",
        "The last images that the first seed of each cell has generated.",
        "there are no runs with generated images here. Make some with `bench run --samples`; copies of run files alone "
        "have none.",
        samples.draw,
    ),
    Kind(
        "circles",
        "Decision boundaries on two circles",
        "The first seed of each cell. Areas: the classifier's answer; grey: the data; crosses: labelled points; "
        "orange: generated points.",
        "there are no runs on two-circles with samples here. Make some with `bench run --dataset two-circles "
        "--samples`; copies of run files alone have none.",
        circles.draw,
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
assert tuple(KINDS) == NAMES
