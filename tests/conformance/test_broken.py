"""Each check can fail: it reports a variant that is broken in the one way that the check is there for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.conformance import CHECKS, check, problem
from bench.datasets import FirewallError, load, make_split
from bench.variant import Choice, Variant, setting


def _load_toys() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_gan_under_test", Path(__file__).parents[1] / "toy_gan.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toys = _load_toys()
Toy, ToyRecipe = toys.Toy, toys.ToyRecipe


class Loop(Toy):
    """A convolution that multiplies by nothing sends the toy through the loop executor."""

    def networks(self) -> Any:
        class WithConvolution(toys.Classifier):
            def __init__(self, task: Any, width: int) -> None:
                super().__init__(task, width)
                self.unused = nn.Conv2d(1, 1, 1)

        return {**super().networks(), "classifier": lambda: WithConvolution(self.task, self.recipe.width)}


def changed(base: Any, change: Any) -> Any:
    """A variant whose classifier's loss is multiplied by `1 + change(variant, nets, batch)`."""

    class Changed(base):
        def classifier_loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            loss, logs = super().classifier_loss(nets, batch, noise, state, progress)
            return loss * (1 + change(self, nets, batch)), logs

    return Changed


def with_classifier(module: Any) -> Any:
    class Other(Toy):
        def networks(self) -> Any:
            return {**super().networks(), "classifier": lambda: module(self.task, self.recipe.width)}

    return Other


def report(name: str, kind: type[Variant]) -> str:
    """What the check whose name begins so says."""
    (function,) = [function for check_name, function in CHECKS.items() if check_name.startswith(name)]
    found = problem(function, kind)
    assert found is not None, f"{name}: no problem found"
    return found


@pytest.mark.slow  # so does the example of the documentation, every time
def test_the_toy_conforms() -> None:
    results = list(check(Toy))
    assert [name for name, _, _ in results] == list(CHECKS)
    assert [found for _, _, found in results] == [None] * len(CHECKS)
    assert all(seconds > 0 for _, seconds, _ in results)


def test_the_toy_under_the_loop_executor_conforms_bit_for_bit() -> None:
    for name in ("a run alone", "a run that turns", "saved and restored"):
        (function,) = [function for check_name, function in CHECKS.items() if check_name.startswith(name)]
        assert problem(function, Loop) is None


def test_checks_come_lazily() -> None:
    first = next(iter(check(Toy)))
    assert first[0] == next(iter(CHECKS))


def test_the_number_of_threads_is_restored() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        report("global random", changed(Loop, lambda self, nets, batch: 0 * torch.randn(())))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


# --- chance ---


def test_global_torch_generator_under_loop() -> None:
    found = report("global random", changed(Loop, lambda self, nets, batch: 0 * torch.randn(())))
    assert "global generator of torch" in found


def test_global_torch_generator_under_vmap() -> None:
    found = report("global random", changed(Toy, lambda self, nets, batch: 0 * torch.randn(())))
    assert "random" in found
    assert "test_broken.py" in found  # with the line of the author's file


@pytest.mark.parametrize("base", [Toy, Loop])
def test_global_numpy_generator(base: Any) -> None:
    found = report("global random", changed(base, lambda self, nets, batch: 0 * np.random.rand()))
    assert "global generator of NumPy" in found


def test_a_generator_of_its_own() -> None:
    found = report("global random", changed(Toy, lambda self, nets, batch: np.random.default_rng().random()))
    assert "trained twice from the same seed" in found


# --- state that the trainer does not see ---


def test_python_state_is_lost_on_resuming() -> None:
    def count(self: Any, nets: Any, batch: Any) -> int:
        self.calls = getattr(self, "calls", 0) + 1
        return int(self.calls)

    assert "resumed after step 1" in report("saved and restored", changed(Toy, count))


def remember(self: Any, nets: Any, batch: Any) -> Tensor:
    """The mean of the batch before, of whichever run that was."""
    before = getattr(self, "before", torch.zeros(()))
    self.before = (batch["unlabelled"].mean() + nets.classifier.tensors["mean"].mean()).detach()
    return before


def test_runs_that_see_each_other() -> None:
    assert "cohort of 3" in report("a run alone", changed(Loop, remember))


def test_nan_that_spreads() -> None:
    def weights(self: Any, nets: Any, batch: Any) -> Tensor:
        before = getattr(self, "before", torch.zeros(()))
        self.before = nets.classifier.tensors["layers.0.weight"].mean().detach()
        return 0 * before

    assert "diverged run" in report("a run that turns", changed(Loop, weights))


def test_rebound_buffer() -> None:
    class Rebinding(toys.Classifier):
        def forward(self, images: Any, noise: Any = None, update: bool = False) -> Tensor:
            if update:
                self.mean = 0.9 * self.mean + 0.1 * images.flatten(1).mean(0)
            return super().forward(images, noise)

    assert "'classifier mean' is re-bound" in report("runs under vmap", with_classifier(Rebinding))


def test_slow_fallback() -> None:
    def median(self: Any, nets: Any, batch: Any) -> Tensor:
        return torch.quantile(batch["unlabelled"].flatten(), 0.5)

    assert "performance drop" in report("runs under vmap", changed(Toy, median))


def test_value_dependent_shape() -> None:
    def positive(self: Any, nets: Any, batch: Any) -> Tensor:
        images = batch["unlabelled"]
        return images[images > 0.5].mean()

    assert "vmap" in report("runs under vmap", changed(Toy, positive))


def test_executors_that_disagree() -> None:
    def batched(self: Any, nets: Any, batch: Any) -> int:
        return int(torch._C._functorch.is_batchedtensor(batch["unlabelled"]))

    found = report("vmap and loop", changed(Toy, batched))
    assert "disagree on the log 'classifier/loss'" in found


def _stacked(batch: Any) -> bool:
    return torch._C._functorch.is_batchedtensor(batch["unlabelled"])


def test_executors_that_disagree_by_little() -> None:
    found = report("vmap and loop", changed(Toy, lambda self, nets, batch: 3e-3 * _stacked(batch)))
    assert "disagree on the log 'classifier/loss'" in found


def test_what_rounding_alone_tips_over_is_no_disagreement() -> None:
    """It is gone in float64; torch's default type is then float32 again."""

    def rounding(self: Any, nets: Any, batch: Any) -> float:
        return 3e-3 * (_stacked(batch) and batch["unlabelled"].dtype == torch.float32)

    (executors,) = [function for name, function in CHECKS.items() if name.startswith("vmap and loop")]
    assert problem(executors, changed(Toy, rounding)) is None
    assert torch.get_default_dtype() == torch.float32


# --- other people's networks and labels ---


def test_foreign_buffer() -> None:
    class Foreign(Toy):
        def generator_loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            nets.classifier(batch["unlabelled"], noise, update=True)
            return super().generator_loss(nets, batch, noise, state, progress)

    found = report("each player", Foreign)
    assert "'generator' in phase 'main' changes a network that is not its own: classifier mean" in found


def test_foreign_weight() -> None:
    def shrink(self: Any, nets: Any, batch: Any) -> int:
        with torch.no_grad():
            nets.generator.tensors["layer.weight"].mul_(0.5)
        return 0

    assert "not its own: generator layer.weight" in report("each player", changed(Toy, shrink))


def test_player_that_moves_nothing() -> None:
    assert "'classifier' in phase 'main' changes none" in report(
        "each player", changed(_without_update(), lambda self, nets, batch: -1)
    )


def _without_update() -> Any:
    class Still(toys.Classifier):
        def forward(self, images: Any, noise: Any = None, update: bool = False) -> Tensor:
            return super().forward(images, noise)

    return with_classifier(Still)


def test_hidden_labels() -> None:
    class Cheat(Toy):
        """Reads the trainer's private parts from the stack."""

        def networks(self) -> Any:
            dataset = sys._getframe(1).f_locals["dataset"]
            leak = float(dataset.vault._labels[:200].sum()) / 1000

            class Leaky(toys.Classifier):
                def __init__(self, task: Any, width: int) -> None:
                    super().__init__(task, width)
                    nn.init.constant_(self.layers[0].bias, leak)

            return {**super().networks(), "classifier": lambda: Leaky(self.task, self.recipe.width)}

    assert "true and wrong hidden labels" in report("hidden labels", Cheat)


def test_a_hidden_label_cannot_be_read_through_the_firewall() -> None:
    split = make_split(load("digits", Path()), seed=0, budget=20, selection="balanced")
    with pytest.raises(FirewallError):
        split.labelled.read(np.array([20]))


# --- recipes ---


def test_dead_field() -> None:
    class Recipe(ToyRecipe):
        dead: float = setting(0.1, "does nothing", ge=0)
        unused: int = setting(3, "does nothing either", ge=1)

    found = report("every recipe field", _with_recipe(Recipe))
    assert "'dead' changes nothing (tried 0.05, 0.2" in found
    assert "'unused' changes nothing (tried 4, 1" in found
    assert "'weight'" not in found


def test_field_that_fails_at_every_other_value() -> None:
    class Recipe(ToyRecipe):
        depth: int = setting(1, "hidden layers", ge=1)

    class Shallow(_with_recipe(Recipe)):
        def networks(self) -> Any:
            if self.recipe.depth != 1:
                raise ValueError("not implemented")
            return super().networks()

    assert "'depth' fails at 3 (ValueError: not implemented" in report("every recipe field", Shallow)


def _with_recipe(recipe_type: Any, **values: Any) -> Any:
    class Other(Toy):
        pass

    Other.recipe_type = recipe_type
    Other.recipes = {"common": {"grey": recipe_type(**{"steps": 200, "lr": 1e-2, **values})}}
    return Other


def test_field_without_description() -> None:
    class Recipe(ToyRecipe):
        bare: int = 3

    assert "'bare' has no description" in report("recipes", _with_recipe(Recipe))


def test_recipe_without_schedule() -> None:
    assert "neither `steps` nor `epochs`" in report("recipes", _with_recipe(ToyRecipe, steps=None))


def test_averages_that_nobody_keeps() -> None:
    class Raw(_with_recipe(ToyRecipe, evaluate_with="ema")):
        def phases(self) -> Any:
            (phase,) = super().phases()
            players = tuple(toys.Player(p.name, p.networks, p.loss, p.lr) for p in phase.players)
            return (toys.Phase("main", 1.0, players),)

    assert "no player has an `ema`" in report("recipes", Raw)


@pytest.mark.parametrize(
    ("space", "message"), [({"momentum": Choice((1,))}, "no field"), ({"weight": Choice((0.1, -1.0))}, "-1.0")]
)
def test_search_out_of_range(space: Any, message: str) -> None:
    class Searched(Toy):
        search = space

    assert message in report("recipes", Searched)


def test_no_recipe_at_all() -> None:
    class Bare(Toy):
        recipes = {}

    assert "no recipe" in report("100 steps", Bare)
    assert "no recipe" in report("vectors", Bare)


# --- outputs ---


def test_fake_class_among_the_logits() -> None:
    class Extra(Toy):
        def classify(self, nets: Any, images: Tensor) -> Tensor:
            return F.pad(nets.classifier(images), (0, 1))

    found = report("vectors", Extra)
    assert "common recipe on vector images, 2 classes: `classify` gives [40, 3], not [images, K] = [40, 2]" in found


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (lambda fakes: fakes[:, :1], "generated images of shape"),
        (lambda fakes: 3 * fakes + 1, "generated images go from"),
        (lambda fakes: fakes * float("nan"), "generated images are not finite"),
    ],
)
def test_generated_images(images: Any, message: str) -> None:
    class Wrong(Toy):
        recipes = {"common": {"colour": Toy.recipes["common"]["colour"]}}

        def generate(self, nets: Any, noise: Any, labels: Tensor) -> Tensor:
            return images(super().generate(nets, noise, labels))

    assert message.replace("generated images of shape", "`generate` gives images of shape") in report("vectors", Wrong)


@pytest.mark.parametrize(
    ("shift", "message"), [(0.0, "do not depend on the labels"), (0.25, "for their one-hot weights differ")]
)
def test_a_generator_that_only_says_it_is_conditional(shift: float, message: str) -> None:
    class Conditional(Toy):
        conditional = True

        def generate(self, nets: Any, noise: Any, labels: Tensor) -> Tensor:
            return super().generate(nets, noise, labels) * (1 - shift * labels.is_floating_point())

    assert message in report("vectors", Conditional)


def test_logits_that_are_not_finite() -> None:
    class Infinite(Toy):
        def classify(self, nets: Any, images: Tensor) -> Tensor:
            return nets.classifier(images) / 0.0

    assert "not finite after 2 steps" in report("vectors", Infinite)


def test_a_variant_that_does_not_learn() -> None:
    found = report("100 steps", changed(Toy, lambda self, nets, batch: -2))
    assert "after 100 steps" in found


# --- tracing ---


def test_losses_that_read_numbers_off_tensors() -> None:
    class Reading(Toy):
        def classifier_loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            loss, logs = super().classifier_loss(nets, batch, noise, state, progress)
            return loss * (2 - torch.tensor([progress, 1.0])[0]), logs

    found = report("traced", Reading)
    assert "without tracing the loss " in found
    assert "Reading.classifier_loss: it cannot be traced: " in found
    assert "(rules 4 to 6 of bench/variant.py)" in found


def test_losses_whose_numbers_come_from_elsewhere() -> None:
    calls: list[int] = []

    def counted(self: Any, nets: Any, batch: Any) -> float:
        calls.append(1)
        return 1 / len(calls)

    found = report("traced", changed(Toy, counted))
    assert "classifier_loss: traced, it gives other numbers (rules 4 to 6" in found


# --- in worker processes ---


@pytest.mark.slow  # the example of the documentation goes through the same command every time
def test_the_command_checks_in_processes_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "broken_gan.py"
    text = (Path(__file__).parents[1] / "toy_gan.py").read_text()
    path.write_text(text.replace('name = "toy"', 'name = "Toy"'))
    command = [sys.executable, "-c", "from bench.cli import main; main()", "check-variant", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "Toy:"
    checks = [line for line in lines if line.startswith(("  ok     ", "  FAILED "))]
    assert [line[9:].rpartition(" (")[0] for line in checks] == list(CHECKS)
    failed = [i for i, line in enumerate(lines) if line.startswith("  FAILED ")]
    assert failed == [0]
    assert "`name` 'Toy': lower-case letters" in lines[1]
