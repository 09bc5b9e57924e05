"""What variants with an unconditional generator share: networks, draws and players, but no loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.variant import Draw, Nets, Noise, Phase, Player, State, Variant
from variants.parts.layers import calibrate
from variants.parts.networks.choice import classifier, generator
from variants.parts.networks.mlp import LATENT
from variants.parts.recipes import GeneratorRecipe, TwoPlayerRecipe, linear_decay

Loss = tuple[Tensor, dict[str, Tensor]]


class Unconditional(Variant):
    """A generator of images from z uniform in [0, 1), and the batches of FM-GAN's code."""

    recipe: GeneratorRecipe

    @property
    def latent(self) -> int:
        """The number of z's elements."""
        return LATENT

    def draws(self) -> Mapping[str, Draw]:
        r = self.recipe
        return {"labelled": Draw(r.batch, "labelled", "tiled"), "unlabelled": Draw(r.batch, r.pool)}

    def initial_draws(self) -> Mapping[str, Draw]:
        return {"images": Draw(self.recipe.initial_batch, "all")}

    def player(self, name: str, loss: Callable[..., Any], **own: Any) -> Player:
        """A player that trains the network of its name with the recipe's optimiser and schedule, but for its `own`."""
        r = self.recipe
        common = {"lr": r.lr, "optimiser": r.adam(), "schedule": linear_decay(r.decay_from), "networks": (name,)}
        return Player(name=name, loss=loss, **{**common, **own})

    def initialise_generator(self, nets: Nets, noise: Noise) -> None:
        """Data-dependent, as that of the classifier; perceptrons have none."""
        if self.recipe.network == "conv":
            calibrate(nets.generator, noise.uniform(self.recipe.initial_batch, self.latent), noise)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.uniform(len(labels), self.latent), noise)

    def fakes(self, nets: Nets, noise: Noise) -> Tensor:
        """G(z), `[batch, *image_shape]`."""
        return nets.generator(noise.uniform(self.recipe.batch, self.latent), noise)


class TwoPlayer(Unconditional):
    """Per step: the discriminator (which is the classifier), then the generator, as in arXiv:1606.03498's code."""

    recipe_type = TwoPlayerRecipe
    recipe: TwoPlayerRecipe
    fake_class: ClassVar[bool] = False  # a (K+1)-th output for generated images

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, outputs = self.recipe, self.task.classes + self.fake_class
        return {
            "discriminator": lambda: classifier(self.task, r, outputs),
            "generator": lambda: generator(self.task, r),
        }

    def draws(self) -> Mapping[str, Draw]:
        """The generator's step has unlabelled images of its own."""
        return {**super().draws(), "unlabelled_generator": Draw(self.recipe.batch, self.recipe.pool)}

    def phases(self) -> tuple[Phase, ...]:
        players = (
            self.player("discriminator", self.discriminator_loss, ema=self.recipe.ema()),
            self.player("generator", self.generator_loss),
        )
        return (Phase("main", 1.0, players),)

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.discriminator.calibrate(batch["images"], noise)
        self.initialise_generator(nets, noise)

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.discriminator(images)[:, : self.task.classes]

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        raise NotImplementedError

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        raise NotImplementedError
