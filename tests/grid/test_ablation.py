"""Which recipes an ablation compares."""

from __future__ import annotations

import pytest

from bench import registry
from bench.errors import UsageError
from bench.grid.ablation import Change, changes
from bench.grid.options import override
from bench.variant import Recipe

FM = registry.get("fm")


def base(**fields: object) -> Recipe:
    return override(FM.recipe_for("common", "digits", "grey"), "fm", fields)


def test_what_is_off_is_added_and_what_is_on_is_removed() -> None:
    rows = {row.name: dict(row.fields) for row in changes(FM, base(smoothing=0.2), None, [])}
    assert rows == {
        "base": {},
        "- feature-matching": {"matching_weight": 0.0, "adversarial_weight": 1.0},
        "+ historical-averaging": {"historical_weight": 1.0},
        "+ virtual-batch-norm": {"virtual_batch_norm": True},
        "+ minibatch-discrimination": {"minibatch_kernels": 100},
        "- label-smoothing": {"smoothing": 0.0},
        "+ pull-away": {"pull_away_weight": 0.8},
        "all": {
            "historical_weight": 1.0, "virtual_batch_norm": True, "minibatch_kernels": 100, "smoothing": 0.1,
            "pull_away_weight": 0.8,
        },
    }  # fmt: skip


def test_only_and_add() -> None:
    rows = changes(FM, base(), ["pull-away"], ["label-smoothing", "lr=0.01"])
    assert [row.name for row in rows] == ["base", "+ pull-away", "+ label-smoothing", "lr=0.01"]
    assert rows[-1] == Change("lr=0.01", {"lr": 0.01})
    assert rows[1].settings("fm") == ["fm.pull_away_weight=0.8"]


def test_all_that_equals_another_row_is_left_out() -> None:
    rows = changes(FM, base(), ["pull-away", "feature-matching"], [])  # feature matching is on already
    assert [row.name for row in rows] == ["base", "+ pull-away", "- feature-matching"]


@pytest.mark.parametrize("name", registry.names())
def test_every_technique_of_every_variant_can_be_switched(name: str) -> None:
    """Each row is a valid recipe of another identity than the base."""
    kind = registry.get(name)
    recipe = next(iter(kind.recipes["common"].values()))
    for technique in kind.techniques.values():
        assert technique.on.keys() == technique.off.keys()
    rows = changes(kind, recipe, None, []) if kind.techniques else []
    identities = [override(recipe, name, row.fields).identity() for row in rows]
    assert all(identity not in identities[:i] for i, identity in enumerate(identities))


@pytest.mark.parametrize(
    ("variant", "only", "add", "message"),
    [
        ("majority", None, [], "names no techniques"),
        ("fm", ["smoothing"], [], "Did you mean 'label-smoothing'"),
        ("fm", None, ["pull"], "unknown technique of fm"),
        ("fm", None, ["lr=0.00289"], "has that value already"),
        ("fm", None, ["nose=1"], "unknown recipe field of fm"),
    ],
)
def test_refusals(variant: str, only: list[str] | None, add: list[str], message: str) -> None:
    kind = registry.get(variant)
    with pytest.raises(UsageError, match=message):
        changes(kind, kind.recipe_for("common", "digits", "grey"), only, add)


def test_a_technique_that_a_variant_cannot_have_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"label-smoothing, a technique of bad, .*fm, .*supervised does not take it"):
        override(registry.get("supervised").recipe_for("common", "digits", "grey"), "supervised", {"smoothing": 0.1})
    triple = registry.get("triple")
    with pytest.raises(UsageError, match=r"pull-away is a technique of bad, .*fm, .*triple does not take it"):
        changes(triple, triple.recipe_for("common", "digits", "grey"), ["pull-away"], [])
    with pytest.raises(UsageError, match=r"Allowed: .*balance.*virtual-batch-norm\.$"):
        changes(triple, triple.recipe_for("common", "digits", "grey"), ["nonsense"], [])
