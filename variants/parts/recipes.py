"""Recipe fields that several variants share, and the schedules that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from bench.variant import Adam, Choice, Ema, LogUniform, Pool, Recipe, Width, setting

# The protocol `common`: the same classifier, batch sizes and steps for every variant, by dataset or shape class.
COMMON: Mapping[str, Mapping[str, Any]] = {
    "digits": {"steps": 1000, "classifier": (256, 128, 64)},
    "vector": {"steps": 1000, "classifier": (128, 128)},
    "grey": {"steps": 3000, "classifier": (500, 250, 125)},
    "colour": {"steps": 3000, "network": "conv", "classifier": (12, 24)},
}
# Salimans et al.'s networks and schedules for colour images (arXiv:1606.03498 and the head of its code).
SVHN: Mapping[str, Any] = {
    "epochs": 900,
    "lr": 3e-4,
    "decay_from": 2 / 3,
    "evaluations": 60,
    "evaluate_with": "ema",
    "network": "conv",
    "classifier": (64, 128),
    "input_noise": 0.0,
}
CIFAR10: Mapping[str, Any] = {**SVHN, "epochs": 1200, "classifier": (96, 192)}
DECONVOLUTIONS: Mapping[str, Any] = {"generator": (512, 256, 128)}
# opetrova/SemiSupervisedPytorchGAN (ResNet-18, 40 epochs), for images above 32 pixels and for cats against dogs.
LARGE: Mapping[str, Any] = {
    "epochs": 40,
    "lr": 2e-3,
    "evaluations": 40,
    "network": "resnet",
    "batch": 64,
    "input_noise": 0.0,
    "input_dropout": 0.0,
    "hidden_dropout": 0.0,
    "eps_inside": False,
    "ema_zero_start": False,
}
LARGE_GAN: Mapping[str, Any] = {**LARGE, "labelled_batch": 100, "latent": "normal", "labelled_in_pool": False}
COLOUR_GENERATOR: Mapping[str, Any] = {"generator": (128, 64, 32)}
COMMON_FIXED: Mapping[str, Any] = {"evaluate_with": "ema"}
CLASSIFIER_FIXED: Mapping[str, Any] = {"batch": 50, "eps_inside": False, "ema_zero_start": False}
COMMON_SEARCH: Mapping[str, Choice | LogUniform] = {
    "lr": LogUniform(5e-4, 1e-2),
    "input_noise": Choice((0.0, 0.1, 0.2, 0.3, 0.4)),
    "hidden_noise": Choice((0.0, 0.1, 0.2, 0.3, 0.5, 0.7)),
    "beta1": Choice((0.5, 0.9)),
    "ema_decay": Choice((0.98, 0.99, 0.995)),
}


def common(
    kind: type[Recipe],
    fixed: Mapping[str, Any],
    tuned: Mapping[str, Mapping[str, Any]],
    colour: Mapping[str, Any] = COLOUR_GENERATOR,
) -> dict[str, Recipe]:
    """A variant's `common` recipes: the part that all variants share, its own fixed fields, and what tuning found.

    `tuned` maps the keys of `COMMON` to fields; colour images take those of grey ones, and `colour`.
    """
    recipes = {}
    for key, shared in COMMON.items():
        found = tuned["grey" if key == "colour" else key]
        recipes[key] = kind(**{**COMMON_FIXED, **shared, **fixed, **found, **(colour if key == "colour" else {})})
    return recipes


def historical_averaging() -> Any:
    """The field of historical averaging (arXiv:1606.03498, section 3.3)."""
    why = "lambda of historical averaging: each player's loss + lambda |weights - their average so far|^2"
    return setting(0.0, why, ge=0, le=100, neutral=0.0)


def label_smoothing() -> Any:
    """The field of one-sided label smoothing (arXiv:1606.03498, section 3.4)."""
    return setting(0.0, "one-sided label smoothing: real images have the target 1 - this", ge=0, lt=1, neutral=0.0)


def virtual_batch_norm() -> Any:
    """The switch of virtual batch normalisation (arXiv:1606.03498, section 3.5)."""
    why = "generators' batch norm goes by a reference batch, fixed at the start"
    return setting(False, why, neutral=False)


def minibatch_kernels() -> Any:
    """The field of minibatch discrimination (arXiv:1606.03498, section 3.2)."""
    why = "kernels of minibatch discrimination ahead of the discriminator's last layer; 0: off"
    return setting(0, why, ge=0, le=1000, neutral=0)


def minibatch_dimensions() -> Any:
    return setting(5, "dimensions of each kernel", ge=1, le=1000, neutral=5, unused_if={"minibatch_kernels": 0})


# Networks of published code, by author: parts/networks/sources.py and resnet.py
SOURCES = ("silva", "ghaboosi", "raghav", "sgan", "resnet")
HIDDEN_LAYERS = {
    "conv": 9,
    "silva": 6,
    "ghaboosi": 4,
    "raghav": 4,
    "sgan": 3,
    "resnet": 1,
    "lenet": 3,
}  # that features can be taken from
PERCEPTRON: dict[str, Any] = {"unused_if": {"network": ("conv", "lenet", *SOURCES)}}
CONVOLUTIONS: dict[str, Any] = {"unused_if": {"network": ("mlp", "lenet")}}
CHANNELS: dict[str, Any] = {"unused_if": {"network": ("mlp", "lenet", *SOURCES)}}
WIDTHS: dict[str, Any] = {"unused_if": {"network": ("lenet", *SOURCES)}}


class ClassifierRecipe(Recipe):
    """A weight-normalised classifier with noise, trained with Adam and evaluated with averaged weights."""

    batch: int = setting(100, "labelled, unlabelled and generated images per step, each", ge=1, batch=True)
    initial_batch: int = setting(500, "images for the data-dependent initialisation", ge=2, batch=True)
    network: Literal["mlp", "conv"] = setting(
        "mlp", "perceptrons, or networks for 32 x 32 colour images", neutral="mlp"
    )
    classifier: tuple[Width, ...] = setting(
        (1000, 500, 250, 250, 250), "hidden widths of the classifier; channels of its two blocks of convolutions",
        min_length=1, **WIDTHS,
    )  # fmt: skip
    input_noise: float = setting(0.3, "standard deviation of the noise on the pixels", ge=0, le=10)
    hidden_noise: float = setting(0.5, "standard deviation of noise before further layers", ge=0, le=10, **PERCEPTRON)
    input_dropout: float = setting(0.2, "dropout of the pixels", ge=0, lt=1, neutral=0.2, **CONVOLUTIONS)
    hidden_dropout: float = setting(0.5, "dropout after each block", ge=0, lt=1, neutral=0.5, **CONVOLUTIONS)
    channel_dropout: Literal["none", "input", "all"] = setting(
        "none", "which dropouts drop whole channels", neutral="none", **CHANNELS
    )
    beta1: float = setting(0.5, "Adam's decay of the first moment", ge=0, lt=1)
    eps_inside: bool = setting(True, "Adam's epsilon under the square root, as in the authors' code")
    ema_decay: float = setting(0.9999, "decay of the averaged weights", gt=0, lt=1)
    ema_zero_start: bool = setting(True, "the average starts at 0 and is not corrected, as in the authors' code")
    decay_from: float = setting(1.0, "share of training after which lr falls linearly to 0", ge=0, le=1, neutral=1.0)

    def adam(self) -> Adam:
        return Adam(betas=(self.beta1, 0.999), eps_inside=self.eps_inside)

    @model_validator(mode="after")
    def _two_blocks(self) -> Self:
        if self.network == "conv" and len(self.classifier) != 2:
            raise ValueError(f"convolutions have two blocks: give two widths, not {len(self.classifier)}")
        return self

    def ema(self) -> Ema:
        return Ema(self.ema_decay, start="zero" if self.ema_zero_start else "weights")

    def schedule(self) -> Callable[[float], float]:
        """The factor on lr."""
        return linear_decay(self.decay_from)


Network = Literal["mlp", "conv", "silva", "ghaboosi", "raghav", "sgan", "resnet"]


def source_network() -> Any:
    why = "perceptrons, networks for 32 x 32 colour images, or those of published code, by author"
    return setting("mlp", why, neutral="mlp")


class SourceRecipe(ClassifierRecipe):
    """What published code needs besides: its networks, and how it trains and evaluates them."""

    network: Network = source_network()  # type: ignore[assignment]
    batch_statistics: bool = setting(
        False, "batch norm takes the batch's own statistics in evaluation, too", neutral=False,
        unused_if={"network": ("mlp", "conv")},
    )  # fmt: skip
    decay_to: float = setting(
        0.0, "factor on lr at the end, reached exponentially from `decay_from` on; 0: linearly to 0", ge=0, le=1,
        neutral=0.0, unused_if={"decay_from": 1.0},
    )  # fmt: skip

    def schedule(self) -> Callable[[float], float]:
        return exponential_decay(self.decay_from, self.decay_to) if self.decay_to else super().schedule()


class GeneratorRecipe(ClassifierRecipe):
    """A classifier beside an unconditional generator."""

    generator: tuple[Width, ...] = setting((500, 500), "hidden widths of the generator", min_length=1, **WIDTHS)
    labelled_in_pool: bool = setting(True, "the unlabelled pool contains the labelled images")
    latent: Literal["uniform", "symmetric", "normal"] = setting(
        "uniform", "z is uniform in [0, 1) or in [-1, 1), or standard normal", neutral="uniform"
    )
    latent_size: int = setting(100, "numbers in z, for perceptrons", ge=1, le=65536, neutral=100, **PERCEPTRON)
    plain_generator: bool = setting(
        False, "perceptron generators of linear layers and ReLU alone, without batch norm", neutral=False, **PERCEPTRON
    )
    generator_steps: int = setting(
        1, "updates of the generator per step, each with fresh noise", ge=1, le=100, neutral=1
    )
    historical_weight: float = historical_averaging()
    virtual_batch_norm: bool = virtual_batch_norm()
    minibatch_kernels: int = minibatch_kernels()
    minibatch_dimensions: int = minibatch_dimensions()

    @property
    def pool(self) -> Pool:
        return "all" if self.labelled_in_pool else "unlabelled"

    @model_validator(mode="after")
    def _has_batch_norm(self) -> Self:
        if self.plain_generator and self.virtual_batch_norm:
            raise ValueError("a plain generator has no batch norm: plain_generator or virtual_batch_norm, not both")
        return self


class TwoPlayerRecipe(GeneratorRecipe):
    """A classifier that is also the discriminator, and an unconditional generator."""

    unsupervised_weight: float = setting(1.0, "weight of the terms without labels of the discriminator", ge=0, le=100)


class FeatureRecipe(GeneratorRecipe):
    """A generator's loss of up to three terms, two of them on a hidden layer of the discriminator."""

    matching_weight: float = setting(0.0, "w_fm, on feature matching", ge=0, le=1000, neutral=0.0)
    matching: Literal["mean-square", "l1", "squared-norm"] = setting(
        "mean-square", "distance between the feature means", neutral="mean-square", unused_if={"matching_weight": 0.0}
    )
    feature_layer: int = setting(
        1, "hidden layer of f, for feature matching and pull-away: the last is 1, the one before it 2", ge=1, neutral=1,
        unused_if={"matching_weight": 0.0, "pull_away_weight": 0.0},
    )  # fmt: skip
    adversarial_weight: float = setting(1.0, "w_adv, on the generator's adversarial term", ge=0, le=1000, neutral=1.0)
    saturating: bool = setting(
        False, "the generator's adversarial term is log(1 - D), not -log D", neutral=False,
        unused_if={"adversarial_weight": 0.0},
    )  # fmt: skip
    pull_away_weight: float = setting(0.0, "w_pt, on the pull-away term", ge=0, le=1000, neutral=0.0)

    drives: ClassVar[tuple[str, ...]] = ("matching_weight", "adversarial_weight")  # one of these must not be 0

    @model_validator(mode="after")
    def _generator_has_a_loss(self) -> Self:
        if not any(getattr(self, name) for name in self.drives):
            raise ValueError(f"{' and '.join(self.drives)} are 0: the generator learns nothing")
        return self

    @property
    def judge(self) -> tuple[int, ...]:
        """The hidden widths of the discriminator."""
        return self.classifier

    @model_validator(mode="after")
    def _layer_exists(self) -> Self:
        layers = len(self.judge) if self.network == "mlp" else HIDDEN_LAYERS[self.network]
        if self.feature_layer > layers:
            raise ValueError(f"the discriminator has {layers} hidden layers")
        return self


class AdversarialRecipe(FeatureRecipe, TwoPlayerRecipe, SourceRecipe):
    """A classifier whose outputs score images as real."""

    network: Network = source_network()  # the first base class has fewer
    labelled_batch: int | None = setting(None, "labelled images per step; unset: batch", ge=1, batch=True, neutral=None)
    labels_from: float = setting(
        0.0, "share of the steps after which labels count: before, the GAN learns from images alone", ge=0, lt=1,
        neutral=0.0,
    )  # fmt: skip
    fake_weight: float = setting(1.0, "weight of generated images against unlabelled ones", ge=0, le=100, neutral=1.0)
    smoothing: float = label_smoothing()
    statistics: Literal["unlabelled", "all"] = setting(
        "unlabelled", "whose running statistics batch norm keeps: of unlabelled images, or of all that pass through, "
        "generated ones included", neutral="unlabelled", unused_if={"network": ("mlp", "conv")},
    )  # fmt: skip


def linear_decay(start: float) -> Callable[[float], float]:
    """1 up to progress `start`, then linearly to 0 at the end."""
    return lambda progress: 1.0 if progress <= start else (1.0 - progress) / (1.0 - start)


def exponential_decay(start: float, final: float) -> Callable[[float], float]:
    """1 up to progress `start`, then exponentially to `final` at the end."""
    return lambda progress: 1.0 if progress <= start else final ** ((progress - start) / (1.0 - start))
