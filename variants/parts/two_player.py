"""What FM-GAN and the two K-class readings of a discriminator share: networks, draws and phases, but no loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.variant import Draw, Nets, Noise, Phase, Player, Pool, State, Variant
from variants.parts.networks.mlp import LATENT, generator, noisy_classifier
from variants.parts.recipes import TwoPlayerRecipe, linear_decay

Loss = tuple[Tensor, dict[str, Tensor]]


class TwoPlayer(Variant):
    """Per step: the discriminator (which is the classifier), then the generator, as in arXiv:1606.03498's code."""

    recipe_type = TwoPlayerRecipe
    recipe: TwoPlayerRecipe
    fake_class: ClassVar[bool] = False  # a (K+1)-th output for generated images

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, outputs = self.recipe, self.task.classes + self.fake_class
        return {
            "discriminator": lambda: noisy_classifier(
                self.task, r.classifier, outputs, input_noise=r.input_noise, hidden_noise=r.hidden_noise
            ),
            "generator": lambda: generator(self.task, r.generator),
        }

    def draws(self) -> Mapping[str, Draw]:
        pool: Pool = "all" if self.recipe.labelled_in_pool else "unlabelled"
        return {
            "labelled": Draw(self.recipe.batch, "labelled", "tiled"),
            "unlabelled": Draw(self.recipe.batch, pool),
            "unlabelled_generator": Draw(self.recipe.batch, pool),
        }

    def phases(self) -> tuple[Phase, ...]:
        r = self.recipe
        common: dict[str, Any] = {"lr": r.lr, "optimiser": r.adam(), "schedule": linear_decay(r.decay_from)}
        discriminator = Player("discriminator", ("discriminator",), self.discriminator_loss, ema=r.ema(), **common)
        return (
            Phase("main", 1.0, (discriminator, Player("generator", ("generator",), self.generator_loss, **common))),
        )

    def initial_draws(self) -> Mapping[str, Draw]:
        return {"images": Draw(self.recipe.initial_batch, "all")}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.discriminator.calibrate(batch["images"], noise)

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.discriminator(images)[:, : self.task.classes]

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.uniform(len(labels), LATENT), noise)

    def fakes(self, nets: Nets, noise: Noise) -> Tensor:
        """G(z) for z ~ U[0, 1)^100, `[batch, *image_shape]`."""
        return nets.generator(noise.uniform(self.recipe.batch, LATENT), noise)

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        raise NotImplementedError

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        raise NotImplementedError
