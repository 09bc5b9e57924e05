"""What variants with an unconditional generator share: networks, draws, players, and the techniques to switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Draw, Nets, Noise, Phase, Player, Recipe, State, Task, Technique, Variant
from variants.parts.losses import MATCHING, accuracy, fake_loss, pull_away, real_loss
from variants.parts.networks.choice import classifier, generator
from variants.parts.networks.mlp import sample
from variants.parts.recipes import SOURCES, AdversarialRecipe, GeneratorRecipe, TwoPlayerRecipe

Loss = tuple[Tensor, dict[str, Tensor]]
Network = Callable[..., Tensor]

# Techniques by name, for `bench ablate`; the values that switch them on are those of papers where these give one.
HISTORICAL_AVERAGING = Technique(on={"historical_weight": 1.0}, off={"historical_weight": 0.0})
LABEL_SMOOTHING = Technique(on={"smoothing": 0.1}, off={"smoothing": 0.0})
VIRTUAL_BATCH_NORM = Technique(on={"virtual_batch_norm": True}, off={"virtual_batch_norm": False})
MINIBATCH_DISCRIMINATION = Technique(on={"minibatch_kernels": 100}, off={"minibatch_kernels": 0})
FEATURE_MATCHING = Technique(on={"matching_weight": 1.0}, off={"matching_weight": 0.0})
PULL_AWAY = Technique(on={"pull_away_weight": 0.8}, off={"pull_away_weight": 0.0})


class Unconditional(Variant):
    """A generator of images from z, and the batches of FM-GAN's code."""

    recipe: GeneratorRecipe
    techniques = {"historical-averaging": HISTORICAL_AVERAGING, "virtual-batch-norm": VIRTUAL_BATCH_NORM}

    @property
    def latent(self) -> int:
        """The number of z's elements."""
        return self.recipe.latent_size

    @property
    def apart(self) -> bool:
        """Whether the discriminator's answers depend on the rest of a batch."""
        return bool(self.recipe.minibatch_kernels) or self.recipe.network in SOURCES

    @property
    def counts_fakes(self) -> bool:
        """Whether batch norm's running statistics follow all batches of the discriminator."""
        return False

    def draws(self) -> Mapping[str, Draw]:
        r = self.recipe
        return {"labelled": Draw(r.batch, "labelled", "tiled"), "unlabelled": Draw(r.batch, r.pool)}

    def initial_draws(self) -> Mapping[str, Draw]:
        return {"images": Draw(self.recipe.initial_batch, "all")}

    def player(self, name: str, loss: Callable[..., Any], **own: Any) -> Player:
        """A player that trains the network of its name with the recipe's optimiser and schedule, but for its `own`."""
        r = self.recipe
        common = {"lr": r.lr, "optimiser": r.adam(), "schedule": r.schedule(), "networks": (name,)}
        common |= {"historical_weight": r.historical_weight}
        common |= {"repeat": r.generator_steps} if name == "generator" else {}
        return Player(name=name, loss=loss, **{**common, **own})

    def initialise_generator(self, nets: Nets, noise: Noise) -> None:
        """Data-dependent, as that of the classifier; perceptrons have none."""
        if self.recipe.network == "conv":
            nets.generator.calibrate(self.z(noise, self.recipe.initial_batch), noise)

    def z(self, noise: Noise, batch: int) -> Tensor:
        """What the generator makes images of, `[batch, latent]`."""
        return sample(noise, batch, self.latent, self.recipe.latent)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(self.z(noise, len(labels)), noise)

    def fakes(self, nets: Nets, noise: Noise) -> Tensor:
        """G(z), `[batch, *image_shape]`."""
        return nets.generator(self.z(noise, self.recipe.batch), noise)

    def answers(self, network: Network, noise: Noise, *batches: Tensor, followed: int = 1) -> Sequence[Tensor]:
        """The discriminator's outputs for each batch, from one pass unless they depend on the rest of a batch.

        Batch norm's running statistics, where there are some, follow the batch `followed`: the unlabelled images.
        """
        if self.apart:
            counted = range(len(batches)) if self.counts_fakes else (followed,)
            return [network(images, noise, update=i in counted) for i, images in enumerate(batches)]
        return network(torch.cat(batches), noise).split([len(images) for images in batches])


class Featured(Unconditional):
    """A discriminator that scores images as real, D = sigmoid(s), and a generator's loss of up to three terms:

        L_G = w_fm FM(f(x), f(G(z))) - c w_adv mean_gen log D(G(z)) + w_pt PT(f(G(z)))

    or, `saturating`, with c w_adv mean_gen log(1 - D(G(z))). FM is feature matching (arXiv:1606.03498, section 3.1), PT
    the pull-away term (arXiv:1609.03126, section 2.4), f a hidden layer of D. A term of weight 0 is not computed.
    """

    recipe: Any  # a FeatureRecipe; subclasses name their own
    adversarial_factor: ClassVar[float] = 1.0  # c
    matched: ClassVar[str] = "unlabelled"  # the draw of x in L_G
    techniques = {
        "feature-matching": FEATURE_MATCHING,
        **Unconditional.techniques,
        "minibatch-discrimination": MINIBATCH_DISCRIMINATION,
        "label-smoothing": LABEL_SMOOTHING,
        "pull-away": PULL_AWAY,
    }

    def score(self, logits: Tensor) -> Tensor:
        """s `[batch]` for the discriminator's outputs `[batch, outputs]`."""
        return logits.squeeze(-1)

    def generator_terms(
        self, nets: Nets, batch: Any, noise: Noise
    ) -> tuple[tuple[Tensor, Tensor], list[Tensor], dict[str, Tensor]]:
        """z `[batch, latent]` and G(z) `[batch, *image_shape]`, the weighted terms of L_G, and the terms by name."""
        r, terms, weighted = self.recipe, {}, []
        if r.matching_weight:
            real = nets.discriminator(batch[self.matched], noise, features=r.feature_layer)
        z = self.z(noise, r.batch)
        images = nets.generator(z, noise)
        fake = nets.discriminator(images, noise, features=r.feature_layer, update=self.counts_fakes)
        if r.adversarial_weight:
            logits = nets.discriminator(fake, noise, from_features=r.feature_layer, update=self.counts_fakes)
            score = self.score(logits)
            terms["adversarial"] = -fake_loss(score) if r.saturating else real_loss(score)
            weighted.append(self.adversarial_factor * r.adversarial_weight * terms["adversarial"])
        if r.matching_weight:
            terms["matching"] = MATCHING[r.matching](real, fake)
            weighted.append(r.matching_weight * terms["matching"])
        if r.pull_away_weight:
            terms["pull_away"] = pull_away(fake)
            weighted.append(r.pull_away_weight * terms["pull_away"])
        return (z, images), weighted, terms


class TwoPlayer(Unconditional):
    """Per step: the discriminator (which is the classifier), then the generator, as in arXiv:1606.03498's code."""

    recipe_type = TwoPlayerRecipe
    recipe: TwoPlayerRecipe
    fake_class: ClassVar[bool] = False  # a (K+1)-th output for generated images
    techniques = {**Unconditional.techniques, "minibatch-discrimination": MINIBATCH_DISCRIMINATION}

    def __init__(self, task: Task, recipe: Recipe) -> None:
        super().__init__(task, recipe)
        if self.recipe.minibatch_kernels:  # an answer then depends on the other images of its batch
            self.evaluation_batch = self.recipe.batch

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


class Adversarial(Featured, TwoPlayer):
    """The classifier as a discriminator that scores images as real; the generator's loss is `Featured`'s, c = 1/2:

        L_D = L_label - w/2 mean_unl log D(x) - w w_fake/2 mean_gen log(1 - D(G(z)))

    A variant says what its outputs mean: `score`, `class_logits` and, where it is not the cross-entropy over all
    outputs, `label_loss`.
    """

    recipe_type = AdversarialRecipe
    recipe: AdversarialRecipe
    adversarial_factor = 0.5
    matched = "unlabelled_generator"

    def draws(self) -> Mapping[str, Draw]:
        r = self.recipe
        return {**super().draws(), "labelled": Draw(r.labelled_batch or r.batch, "labelled", "tiled")}

    @property
    def counts_fakes(self) -> bool:
        return self.recipe.statistics == "all"

    def score(self, logits: Tensor) -> Tensor:
        raise NotImplementedError

    def class_logits(self, logits: Tensor) -> Tensor:
        """The outputs of the real classes, `[batch, K]`."""
        return logits[:, : self.task.classes]

    def label_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The term of labelled images."""
        return F.cross_entropy(logits, labels)

    def counted(self, label_loss: Tensor, progress: Tensor) -> Tensor:
        """The label term, 0 as long as labels do not count."""
        start = self.recipe.labels_from
        return label_loss * (progress >= start) if start else label_loss

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return self.class_logits(nets.discriminator(images))

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        r, (labelled, labels) = self.recipe, batch["labelled"]
        l_lab, l_unl, l_gen = self.answers(
            nets.discriminator, noise, labelled, batch["unlabelled"], self.fakes(nets, noise)
        )
        supervised = self.counted(self.label_loss(l_lab, labels), progress)
        real, fake = real_loss(self.score(l_unl), r.smoothing), fake_loss(self.score(l_gen))
        loss = supervised + r.unsupervised_weight * (0.5 * real + 0.5 * r.fake_weight * fake)
        logs = {"supervised": supervised, "real": real, "fake": fake}
        return loss, {**logs, "accuracy": accuracy(self.class_logits(l_lab), labels)}

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        _, weighted, terms = self.generator_terms(nets, batch, noise)
        return sum(weighted[1:], start=weighted[0]), terms if len(terms) > 1 else {}
