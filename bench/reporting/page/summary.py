"""What the runs say, in exactly three sentences that can be quoted: their scope, the main finding, its limits.

The finding is about the dataset and protocol with the most runs, smoke runs aside, and is read under the material's
policy in accuracy. A variant's number there is each seed's mean accuracy over the budgets; so n counts seeds, and
variants are compared by the differences of these means, paired by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis.aggregate import block_means, mean_ranks
from bench.analysis.comparison import DIGITS, compare, holm
from bench.analysis.leaders import LEVEL
from bench.analysis.policies import DESCRIPTIONS
from bench.analysis.runs import CELL
from bench.reporting.formats import one_line
from bench.reporting.material import Material

SMOKE = (
    "All of them are smoke runs, which prove only that the code runs: their numbers mean nothing.",
    "Nothing is compared here; another protocol, such as `bench run --protocol common`, gives numbers that can be.",
)
NOTHING = ("No run has a result that this policy could read.", "So there is nothing to compare.")


def summary(material: Material) -> tuple[str, str, str]:
    """Scope, finding, limits."""
    finding, limits = _findings(material)
    return _scope(material), finding, limits


def _scope(material: Material) -> str:
    frame = material.frame
    if frame.empty:
        return "There are no runs yet."
    lost = int((frame["status"] != "done").sum())
    seeds = frame.groupby(CELL).size()
    several = f"{seeds.min()} to " if seeds.min() < seeds.max() else ""
    variants, datasets = frame["base_variant"].nunique(), list(frame["dataset"].drop_duplicates())
    return (
        f"These are {_count(len(frame), 'run')} of {_count(variants, 'variant')} on {_count(len(datasets), 'dataset')} "
        f"({_listed(datasets)}) with {several}{_count(int(seeds.max()), 'seed')} per cell, read under the policy "
        f"{material.policy} ({DESCRIPTIONS[material.policy]}); {lost or 'none'} of them failed or diverged."
    )


def _findings(material: Material) -> tuple[str, str]:
    frame = material.frame
    real = frame[~frame["protocol"].str.startswith("smoke")]
    if len(frame) and real.empty:
        return SMOKE
    if real.empty or real["accuracy"].isna().all():
        return NOTHING
    group = max((runs for _, runs in real.groupby(["dataset", "protocol"], sort=False)), key=len)
    dataset, protocol = map(one_line, group.iloc[0][["dataset", "protocol"]])
    place = f"On {dataset} under the protocol {protocol},"
    measured = group[group["accuracy"].notna()]
    means = block_means(measured.assign(value=measured["accuracy"])).dropna()
    if measured.empty or means.empty:
        return f"{place} no budget has results of all variants yet, so none is called the best.", NOTHING[1]
    ranked = Ranked(place, means, _by_seed(measured, means), _baseline(measured))
    return ranked.finding(), ranked.limits()


@dataclass(frozen=True)
class Ranked:
    """The variants of one dataset and protocol.

    Attributes:
        means: accuracy `[blocks, variants]`.
        by_seed: each seed's mean accuracy over the budgets `[seeds, variants]`, missing where a budget lacks it.
        baseline: the label of `supervised`, if it is there.
    """

    place: str
    means: pd.DataFrame
    by_seed: pd.DataFrame
    baseline: str | None

    @property
    def best(self) -> str:
        """The variant of the best mean rank; of several such, that of the best mean."""
        order = pd.DataFrame({"rank": mean_ranks(self.means).round(DIGITS), "mean": -self.means.mean()})
        return str(order.sort_values(["rank", "mean"], kind="stable").index[0])

    @property
    def others(self) -> list[str]:
        return [str(name) for name in self.means if name != self.best]

    def finding(self) -> str:
        budgets = [str(budget) for _, budget in self.means.index]
        labels = f"{_listed(sorted(budgets, key=int))} labels"
        average = f"{'averages' if len(budgets) > 1 else 'reaches'} {self._average(self.best)}"
        if not self.others:
            return f"{self.place} with {labels} {one_line(self.best)}, the only variant, {average}."
        rank = mean_ranks(self.means)[self.best]
        return (
            f"{self.place} {one_line(self.best)} has the best mean rank of {len(self.means.columns)} variants "
            f"({rank:.1f} over {labels}) and {average}{self._against_baseline()}."
        )

    def limits(self) -> str:
        best, others = one_line(self.best), self.others
        if not others:
            return "There is no other variant to compare it with."
        p = pd.Series({name: compare(self.by_seed[self.best], self.by_seed[name])["t_p"] for name in others})
        corrected = holm(p.astype(float))
        if corrected.isna().all():
            return f"Too few seeds are shared to test whether any other variant differs from {best}."
        alike = [name for name in others if corrected[name] >= LEVEL]
        untested = [name for name in others if pd.isna(corrected[name])]
        test = f"Paired t tests over these seeds, Holm-corrected over {_count(len(p.dropna()), 'comparison')} at 5 %,"
        told = f"do not tell {_listed(alike)} apart from {best}" if alike else f"tell all others apart from {best}"
        return f"{test} {told}" + (f"; {_listed(untested)} could not be tested." if untested else ".")

    def _average(self, name: str) -> str:
        values = self.by_seed[name].dropna()
        if len(values) < 2:
            return f"{self.means[name].mean():.2f} % accuracy (n = {max(len(values), 1)})"
        n = f"n = {len(values)} seeds, ± sample standard deviation"
        return f"{values.mean():.2f} ± {values.std(ddof=1):.2f} % accuracy ({n})"

    def _against_baseline(self) -> str:
        if self.baseline is None:
            return "; there is no supervised baseline to compare it with"
        if self.baseline == self.best:
            return ": no variant that uses unlabelled images does better"
        found = compare(self.by_seed[self.best], self.by_seed[self.baseline])
        if not found["n"]:
            return f"; it shares no seed with {one_line(self.baseline)}"
        gap = found["difference"]
        text = f", {abs(gap):.2f} points {'more' if gap >= 0 else 'less'} than {one_line(self.baseline)}"
        if found["n"] < 2:
            return f"{text} (one pair: no interval)"
        return f"{text} (95 % interval {found['low']:+.2f} to {found['high']:+.2f}, {found['n']} pairs)"


def _by_seed(measured: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Each seed's mean accuracy over the blocks of `means` `[seeds, variants]`."""
    inside = measured[measured["budget"].isin({budget for _, budget in means.index})]
    by_run = inside.groupby(["variant", "seed"])["accuracy"].agg(["mean", "count"])
    whole = by_run.loc[by_run["count"] == len(means), "mean"]
    return whole.unstack("variant").reindex(columns=means.columns)


def _baseline(frame: pd.DataFrame) -> str | None:
    """The label of `supervised`; of several, the plain one or the first."""
    labels = [str(name) for name in frame.loc[frame["base_variant"] == "supervised", "variant"].drop_duplicates()]
    return "supervised" if "supervised" in labels else next(iter(labels), None)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = map(one_line, names)
    return f"{', '.join(first)} and {last}" if first else last
