"""The section of all variants: phases weighed by their steps, what is left out is said, verdicts by executor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench import registry
from bench.datasets import Dataset
from bench.speed import every
from bench.speed.cases import case
from bench.speed.every import Limits, Result, TooLongError, at_most, measure_setup, measured_phases, section
from bench.speed.phases import only, shares
from bench.speed.rounds import Effort, Timings, weighted
from bench.speed.setup import Setup
from bench.variant import Variant

ONCE = Limits(Effort(1, 0.0), 60.0)


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_phases_weigh_by_their_steps() -> None:
    """A quarter of the steps at 4 s and three quarters at 8 s: 7 s; ratios are those of the whole."""
    found = weighted([(0.2, Timings({"a": [4.0], "b": [1.0]}, 1.0)), (0.6, Timings({"a": [8.0], "b": [5.0]}, 1.4))])
    assert found.of("a").median == pytest.approx(7.0)
    assert found.ratio("a", "b").median == pytest.approx(7 / 4)
    assert found.wall == pytest.approx(1.3)


def test_shares_of_a_schedule(digits: Dataset) -> None:
    """Of 1,000 steps of `vanilla` the last 300 train the head."""
    assert shares(setup("vanilla", digits).made()) == {"gan": pytest.approx(0.7), "head": pytest.approx(0.3)}


def test_a_phase_alone_takes_all_steps(digits: Dataset) -> None:
    alone = only(setup("vanilla", digits).made(), "head")
    assert shares(alone) == {"head": 1.0}
    assert [player.name for player in alone.phases()[0].players] == ["head"]


def setup(name: str, digits: Dataset) -> Setup:
    kind = registry.get(name)
    return Setup(kind, kind.recipe_for("common", "digits", "grey"), digits)


def test_alternatives_of_a_stacked_variant(digits: Dataset) -> None:
    result = measure_setup(setup("majority", digits), ONCE, stacked=3)
    assert result.executor == "vmap"
    assert set(result.timings.seconds) == {"plain loop", "cohort of 1", "cohort of 3"}
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in result.timings.seconds.values())
    assert (result.covered, result.largest) == (pytest.approx(1.0), 3)


def test_phases_that_hardly_occur_are_left_out(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every, "shares", lambda variant: {"gan": 0.99, "head": 0.01})
    monkeypatch.setattr(every, "measure", lambda alternatives, effort, device: Timings({"a": [1.0]}, 1.0))
    assert measure_setup(setup("vanilla", digits), ONCE).covered == 0.99


def test_the_longest_phases_come_first(digits: Dataset) -> None:
    """`transfer`: 350, 350 and 300 of 1,000 steps."""
    chosen = setup("transfer", digits)
    assert measured_phases(chosen, ONCE) == pytest.approx({"main": 0.35, "pseudo-labels": 0.35, "transfer": 0.3})
    assert measured_phases(chosen, ONCE._replace(phases=1)) == pytest.approx({"main": 0.35})
    chosen = replace(chosen, recipe=chosen.recipe.model_copy(update={"transfer_share": 0.7}))
    assert list(measured_phases(chosen, ONCE._replace(phases=1))) == ["transfer"]


def test_long_steps_are_refused(digits: Dataset) -> None:
    with pytest.raises(TooLongError, match=r"a step of its phase 'main' takes 0\.0 s"):
        measure_setup(setup("majority", digits), Limits(Effort(1, 0.0), 0.0))


def result(executor: str, plain: float, one: float, many: float | None) -> Result:
    seconds = {"plain loop": [plain], "cohort of 1": [one]} | ({} if many is None else {"cohort of 15": [many]})
    return Result(executor, Timings(seconds, 1.0), 0.993, 1 if many is None else 15, 1.1 if many is None else 0.5)


def test_section(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"fm": result("vmap", 2e-3, 1e-3, 1.04e-3), "triple": result("loop", 2e-3, 2.2e-3, None)}

    def measured(chosen: Setup, limits: Limits) -> Result:
        if chosen.variant.name == "ugan":
            raise TooLongError("a step of its phase 'main' takes 9.0 s")
        return found[chosen.variant.name]

    monkeypatch.setattr(every, "measure_setup", measured)
    text = section(["fm", "belt", "triple", "ugan"], "common", digits, "digits", ONCE)
    assert "Left out: `belt`: variant 'belt' has no 'common' recipe for dataset 'digits'" in text
    assert "; `ugan`: a step of its phase 'main' takes 9.0 s.\n" in text
    one, plain, relative = "1.00", "2.00", "0.50 (0.50 to 0.50)"
    assert rows(text) == [
        ["fm (99.3% of steps)", "vmap", plain, one, relative, "1.04", "0.52 (0.52 to 0.52)",
         "cohort of 15: at most 0.5", "missed"],
        ["triple (99.3% of steps)", "loop", plain, "2.20", "1.10 (1.10 to 1.10)", "", "",
         "cohort of 1: at most 1.1", "met"],
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "most"), [(256, 0.5), (2048, 0.5), (2049, 0.8), (8192, 0.8), (8193, 1.1)])
def test_the_target_depends_on_the_size(width: int, most: float, digits: Dataset) -> None:
    """The largest weight is one of 64 x `width`."""
    chosen = setup("supervised", digits)
    wide = replace(chosen, recipe=chosen.recipe.model_copy(update={"classifier": (width, 8)}))
    assert at_most(wide.trainer(1)) == most


def test_a_trainer_of_one_phase_stays_in_it(digits: Dataset) -> None:
    trainer = setup("vanilla", digits).trainer(1, "head")
    trainer.step()
    assert trainer.phase is not None
    assert trainer.phase.name == "head"


def test_a_failing_variant_is_named(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Variant) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr(registry.get("majority"), "networks", broken)
    text = section(["majority"], "common", digits, "digits", ONCE)
    assert "Left out: `majority`: variant 'majority' fails: ValueError: no luck" in text


def test_case_is_a_setup() -> None:
    assert torch.equal(case("digits").trainer(1).images, case("digits").dataset.train_images)
