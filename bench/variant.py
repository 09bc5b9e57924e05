"""The contract of a variant: all that the author of a semi-supervised GAN has to read.

A variant is a class in one file. It describes ONE training run in plain, pure torch: which networks there are, in which
phases which players take their steps, what a step draws, and one loss method per player. It never sees a device, a
seed, a cohort, a checkpoint, a logger or a hidden label. The trainer may run its losses alone or batched over many runs
by `torch.func.vmap`; so inside a loss:

1.  A loss returns a 0-dim tensor and a dict of 0-dim tensors (no Python numbers); a third value is the new state.
2.  All chance comes from `noise`. `F.dropout`, `randn`, `randperm` and NumPy are forbidden: dropout is
    `x * noise.keep_mask(x.shape, rate)`, a random class is `(noise.uniform(n) * classes).long()`.
3.  Shapes never depend on values: no `x[mask]`, `nonzero`, `unique`. Weight with a mask instead.
4.  No `.item()`, `.tolist()`, `float(tensor)`, `torch.tensor([progress])`, `.data`, and no `if` on a tensor: use
    `torch.where` and `torch.stack`. After some steps a loss is traced, on a GPU captured: what it reads off a tensor
    could not change. For the same reason no tensor is made from a list of numbers in a loss (`torch.tensor([1, 2])`).
5.  Buffers change in place (`copy_`, `mul_().add_()`); never re-bind them, never count in Python attributes.
6.  Tensors to write into come from `x.new_zeros(...)`. One-hot labels come from a comparison with `torch.arange(K)`;
    `F.one_hot` looks at labels that all runs share.
7.  A gradient inside a loss is taken with `torch.func.grad`, never with `torch.autograd.grad` or `backward`.
8.  Networks of other players arrive detached: no gradient reaches them, and none needs to be stopped by hand.
9.  Take weight norm, batch norm, noise and dropout from `variants.parts.layers`; softplus and sigmoid from
    `variants.parts.losses`: they have the same bits in every cohort.

`bench check-variant FILE.py` tests all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from bench.errors import UsageError
from bench.recipe import (
    MOST_STEPS,
    SMOKE_BATCH,
    SMOKE_STEPS,
    SMOKE_TEST_IMAGES,
    Choice,
    LogUniform,
    Recipe,
    Technique,
    Width,
    setting,
)

__all__ = [
    "MOST_STEPS",
    "SGD",
    "SMOKE_BATCH",
    "SMOKE_STEPS",
    "SMOKE_TEST_IMAGES",
    "Adam",
    "Choice",
    "Draw",
    "Ema",
    "Examples",
    "LogUniform",
    "Nets",
    "Noise",
    "Phase",
    "Player",
    "Pool",
    "Recipe",
    "ShapeClass",
    "State",
    "Task",
    "Technique",
    "Variant",
    "Width",
    "constant",
    "setting",
]

# --- what a run is about ---------------------------------------------------------------------------------------------

ShapeClass = Literal["vector", "grey", "colour", "large"]


@dataclass(frozen=True)
class Task:
    """What a variant may know of its run's data."""

    image_shape: tuple[int, ...]  # [features] or [channels, height, width]
    classes: int  # K
    value_range: tuple[float, float] | None  # of the scaled images; None: unbounded
    # Not for losses: runs of several budgets may train together.
    labelled: int  # the label budget
    unlabelled: int  # images of the training set outside the labelled (and the validation) set

    @property
    def features(self) -> int:
        return math.prod(self.image_shape)

    @property
    def shape_class(self) -> ShapeClass:
        """Recipes are looked up by it where a dataset has none of its own."""
        if len(self.image_shape) == 1:
            return "vector"
        channels, height, width = self.image_shape
        if max(height, width) > 32:
            return "large"
        return "grey" if channels == 1 and max(height, width) <= 28 else "colour"


Pool = Literal["labelled", "unlabelled", "all"]


@dataclass(frozen=True)
class Draw:
    """One named part of a step's batch.

    pool: `labelled`; `unlabelled` (all but the labelled images); `all` (both, without any label).
    order: `tiled` (permutation after permutation, cut into batches), `epoch` (the same, but the ragged end of each
    permutation is dropped), `replacement` (independent draws), `all` (the whole pool, in order, each step).
    A labelled draw arrives as `Examples`, any other as images `[size, *image_shape]`.
    """

    size: int
    pool: Pool
    order: Literal["tiled", "epoch", "replacement", "all"] = "epoch"


class Examples(NamedTuple):
    images: Tensor  # [batch, *image_shape]
    labels: Tensor  # [batch], int64


# --- players and phases ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adam:
    """Adam (arXiv:1412.6980). `eps_inside` puts epsilon under the square root, as Salimans et al.'s code does."""

    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    eps_inside: bool = False


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum, m <- momentum m + gradient + weight_decay theta, theta <- theta - lr m."""

    momentum: float = 0.9
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Ema:
    """Moving average of a player's networks for evaluation: `a <- decay a + (1 - decay) theta` after each step.

    start: `weights` (the average starts at the initial weights) or `zero` (at 0, as in Salimans et al.'s code; buffers
    such as batch-norm statistics always start at their values). debias: divide by `1 - decay^t` (with `zero` only).
    """

    decay: float
    start: Literal["weights", "zero"] = "weights"
    debias: bool = False

    def __post_init__(self) -> None:
        if self.debias and self.start != "zero":
            raise ValueError("Ema: debias=True corrects a zero start; use start='zero' or debias=False")


def constant(progress: float) -> float:
    """The schedule that changes nothing."""
    return 1.0


@dataclass(frozen=True)
class Player:
    """Networks that share one loss and one optimiser step.

    A network may belong to two players; each then keeps optimiser state of its own. Optimiser state is kept by the
    player's name from phase to phase, unless the phase names the player in `fresh`.
    """

    name: str
    networks: tuple[str, ...]
    loss: Callable[..., Any]  # (nets, batch, noise, state, progress) -> loss, logs [, new state]
    lr: float
    optimiser: Adam | SGD = Adam()
    schedule: Callable[[float], float] = constant  # progress of the whole training in 0..1 -> factor on lr
    ema: Ema | None = None
    every: int = 1  # takes its turn every so many steps
    repeat: int = 1  # updates per turn, each with fresh noise
    beta1: Callable[[float], float] | None = None  # progress -> Adam's first beta; None: the optimiser's own
    historical_weight: float = 0.0  # of |weights - their mean so far|^2 in the loss (arXiv:1606.03498, section 3.3)

    def __post_init__(self) -> None:
        if self.beta1 is not None and not isinstance(self.optimiser, Adam):
            raise ValueError(f"Player {self.name!r}: beta1 is Adam's, and its optimiser is {self.optimiser}")


@dataclass(frozen=True)
class Phase:
    """A stretch of training with a fixed set of players, in the order of their updates."""

    name: str
    share: float  # of the run's steps, relative to the other phases
    players: tuple[Player, ...]
    fresh: frozenset[str] = frozenset()  # players whose optimiser state starts anew

    def __post_init__(self) -> None:
        names = [player.name for player in self.players]
        if len(set(names)) < len(names):
            raise ValueError(f"Phase {self.name!r}: players need names of their own, not {', '.join(names)}")


# --- randomness ------------------------------------------------------------------------------------------------------


class Noise:
    """One run's random numbers for one pass: pieces are cut off a tape that the trainer has filled beforehand."""

    def __init__(self, normal: Tensor, uniform: Tensor) -> None:
        self._normal, self._uniform = normal, uniform  # [length] each
        self._at_normal = self._at_uniform = 0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers `[*shape]`."""
        start, self._at_normal = self._at_normal, self._at_normal + math.prod(shape)
        return self._normal[start : self._at_normal].reshape(shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) `[*shape]`."""
        start, self._at_uniform = self._at_uniform, self._at_uniform + math.prod(shape)
        return self._uniform[start : self._at_uniform].reshape(shape)

    def keep_mask(self, shape: tuple[int, ...], rate: float) -> Tensor:
        """Factors `[*shape]` for inverted dropout: 0 with probability `rate`, else 1 / (1 - rate)."""
        return (self.uniform(*shape) >= rate).to(self._uniform.dtype) / (1.0 - rate)

    def fork(self) -> Noise:
        """A second reader from the same place: what it reads, this one will read too (two passes, the same noise)."""
        twin = Noise(self._normal, self._uniform)
        twin._at_normal, twin._at_uniform = self._at_normal, self._at_uniform
        return twin


# --- the variant -----------------------------------------------------------------------------------------------------

Nets = SimpleNamespace  # nets.NAME(images, noise, ...) calls a network; nets.NAME.tensors["layer.weight"] is a weight
State = Mapping[str, Tensor]


class Variant:
    """A method: subclass it, and name the class in the entry-point group `ssgan_bench.variants`.

    `recipes` maps a protocol ("paper", "common") to recipes by dataset name or shape class. The trainer makes one
    object per cohort; `self.task` and `self.recipe` are fixed from then on.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when the numbers that the variant produces change
    recipe_type: ClassVar[type[Recipe]] = Recipe
    recipes: ClassVar[Mapping[str, Mapping[str, Recipe]]]
    search: ClassVar[Mapping[str, Choice | LogUniform]] = {}  # what `bench tune` draws recipe fields from
    techniques: ClassVar[Mapping[str, Technique]] = {}  # what `bench ablate` adds and removes, by name
    beats_chance: ClassVar[bool] = True  # False for a baseline that ignores the images
    conditional: ClassVar[bool] = False  # whether `generate` follows its labels, and takes weights in their place
    evaluation_batch: int = 500  # images per call of `classify`, in the order of the test set

    task: Task
    recipe: Any  # of type `recipe_type`
    constant: Mapping[str, Tensor]  # what `constants` has returned, on the device

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.task, self.recipe, self.constant = task, recipe, {}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        """Constructors by name. Each runs with torch's generator set to a stream of its own, so `nn.Linear` is fine.

        A network's `forward(images, noise=None, update=False)`: `noise=None` means evaluation; otherwise layers draw
        from it and batch norm uses the batch, and `update=True` moves the running statistics.
        """
        raise NotImplementedError

    def phases(self) -> tuple[Phase, ...]:
        raise NotImplementedError

    def draws(self) -> Mapping[str, Draw]:
        """What a step's batch holds. One draw called `unlabelled` counts epochs where the recipe is given in them."""
        raise NotImplementedError

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        """Logits `[batch, K]` over the real classes, without noise."""
        raise NotImplementedError

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor | None:
        """One image per label: `[batch, *image_shape]` for `labels [batch]`, which an unconditional generator ignores.

        A conditional one also takes weights over the classes, float `[batch, K]`. None where there is no generator.
        """
        return None

    def steps(self) -> int:
        """The length of the recipe's full schedule, all phases together."""
        if self.recipe.steps is not None:
            return self.recipe.steps
        if self.recipe.epochs is None:
            raise UsageError(f"{self.name}: the recipe sets neither `steps` nor `epochs`. Set one of them.")
        return self.recipe.epochs * self.steps_per_epoch()

    def steps_per_epoch(self) -> int:
        draw = self.draws()["unlabelled"]
        pool = self.task.unlabelled + (self.task.labelled if draw.pool == "all" else 0)
        return max(1, pool // draw.size)

    def constants(self, images: Iterable[Tensor]) -> Mapping[str, Tensor]:
        """Tensors that depend on the data alone: computed once, the same for all runs. Losses read `self.constant`.

        `images`: all training images, scaled, in parts `[n, *image_shape]`.
        """
        return {}

    def state(self) -> State:
        """Named tensors that a run carries along; a loss reads them and may return new values."""
        return {}

    def initial_draws(self) -> Mapping[str, Draw]:
        """What `initialise` needs to see."""
        return {}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        """Data-dependent initialisation: changes the freshly built modules `nets.NAME` in place."""

    @classmethod
    def full_recipe_for_smoke(cls, dataset: str, shape_class: str) -> Recipe:
        """The recipe that the smoke protocol cuts down: that of the paper, else the common one."""
        paper = cls.recipes.get("paper", {})
        found = paper.get(dataset) or paper.get(shape_class)
        return found or cls.recipe_for("common", dataset, shape_class)

    @classmethod
    def recipe_for(cls, protocol: str, dataset: str, shape_class: str) -> Recipe:
        """The recipe of a protocol: by dataset, else by shape class. `smoke` shrinks the paper's (else the common) one.

        Raises:
            UsageError: the variant has no recipe of that protocol for such data.
        """
        if protocol == "smoke":
            return cls.full_recipe_for_smoke(dataset, shape_class).smoke()
        table = cls.recipes.get(protocol, {})
        if found := table.get(dataset) or table.get(shape_class):
            return found
        large = " Reduce the images to 32 x 32 with --image-size 32." if shape_class == "large" else ""
        has = "; ".join(f"{p}: {', '.join(t)}" for p, t in cls.recipes.items())
        raise UsageError(
            f"variant {cls.name!r} has no {protocol!r} recipe for dataset {dataset!r} ({shape_class} images). "
            f"It has {has}.{large}"
        )
