"""Random search: streams per field, scores from validation images only, a file that `bench run --recipe` reads."""

from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from joblib import parallel_config

from bench import registry, tuning
from bench.errors import UsageError
from bench.execution import DataSource
from bench.grid import Options
from bench.grid.options import read_recipe_file
from bench.variant import Choice, LogUniform

SOURCE = DataSource("digits", Path("nowhere"))


def _quick(**changes: object) -> Options:
    fixed = {"variants": "supervised", "labels": "20,50", "seeds": "1000-1001", "steps": 12, "validation": 100}
    return Options(**{**fixed, "settings": ["supervised.evaluations=1"], **changes})


def test_trial_zero_is_the_recipe_itself_and_a_further_field_moves_no_other() -> None:
    fm = registry.get("fm")

    class Wider(fm):  # type: ignore[misc, valid-type]
        search: ClassVar = {"another": Choice((1, 2, 3)), **fm.search}

    recipe = fm.recipe_for("common", "digits", "grey").model_dump()
    few, many = tuning.candidates(fm, recipe, 4), tuning.candidates(Wider, {**recipe, "another": 2}, 6)
    assert few[0] == {name: recipe[name] for name in fm.search}
    assert many[0] == {"another": 2, **few[0]}
    assert [{k: v for k, v in trial.items() if k != "another"} for trial in many[:4]] == few
    assert len({trial["lr"] for trial in many[1:]}) == 5


def test_draws_stay_within_their_ranges() -> None:
    for name in registry.names():
        variant = registry.get(name)
        for trial in tuning.candidates(variant, dict.fromkeys(variant.search), 30)[1:]:
            for field, value in trial.items():
                space = variant.search[field]
                if isinstance(space, LogUniform):
                    assert space.low * 0.99 <= value <= space.high * 1.01
                else:
                    assert value in space.values


def test_every_variant_searches_the_fields_that_all_share() -> None:
    shared = set(registry.get("supervised").search)
    assert shared
    for name in registry.names():
        assert shared <= set(registry.get(name).search) or not registry.get(name).beats_chance


def test_the_best_trial_on_validation_images_comes_first_and_its_file_is_a_recipe(tmp_path: Path) -> None:
    lines: list[str] = []
    with parallel_config("threading"):  # processes would take most of the time to start
        trials = tuning.tune(_quick(), SOURCE, 3, 2, lines.append)
    assert len(trials) == len(lines) == 3
    scores = [trial.score for trial in trials]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    assert {trial.number for trial in trials} == {0, 1, 2}
    for trial in trials:
        assert set(trial.accuracies) == {20, 50}
        # two seeds and 100 images per budget: a mean of two whole percentages
        assert all(2 * a == pytest.approx(round(2 * a)) for a in trial.accuracies.values())
        assert trial.score == pytest.approx((trial.accuracies[20] + trial.accuracies[50]) / 2)
    path = tmp_path / "found.yaml"
    path.write_text(tuning.to_yaml("supervised", ["how it was made"], trials))
    assert read_recipe_file(path) == {"supervised": dict(trials[0].fields)}
    assert path.read_text().count("#   ") == 3
    assert yaml.safe_load(path.read_text()) is not None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"variants": "supervised,fm", "settings": []}, "one variant"),
        ({"validation": 0}, "--validation"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        tuning.tune(_quick(**changes), SOURCE, 2, 1, print)
