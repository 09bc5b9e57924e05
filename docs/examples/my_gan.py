"""My GAN: K logits read as D = Z / (Z + 1), Z = sum exp l_k, and a generator that wants D to believe it.

s(x) = logsumexp_k l_k(x),  D(x) = sigmoid(s(x))
L_D  = mean_lab CE(l(x), y) - w mean_unl log D(x) - w mean_gen log(1 - D(G(z)))
L_G  = -mean_gen log D(G(z))
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Draw, Nets, Noise, Phase, Player, Recipe, State, Task, Variant, setting


class Classifier(nn.Module):
    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(task.features, width), nn.ReLU(), nn.Linear(width, task.classes))

    def forward(self, images: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        x = images.flatten(1)
        return self.layers(x if noise is None else x + 0.2 * noise.normal(*x.shape))  # no noise in evaluation


class Generator(nn.Module):
    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.task = task
        self.layers = nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, task.features))

    def forward(self, z: Tensor) -> Tensor:
        low, high = self.task.value_range or (-2.0, 2.0)  # of the images
        share = F.logsigmoid(self.layers(z)).exp()
        return (low + (high - low) * share).view(-1, *self.task.image_shape)


class MyRecipe(Recipe):
    batch: int = setting(50, "labelled, unlabelled and generated images per step, each", ge=1, batch=True)
    width: int = setting(128, "hidden units", ge=1)
    weight: float = setting(0.5, "w, on the terms without labels", ge=0, le=10)


class MyGAN(Variant):
    name = "my-gan"
    recipe_type = MyRecipe
    recipes = {"common": {shape: MyRecipe(steps=1000, lr=1e-3) for shape in ("vector", "grey", "colour")}}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        width = self.recipe.width
        return {"classifier": lambda: Classifier(self.task, width), "generator": lambda: Generator(self.task, width)}

    def draws(self) -> Mapping[str, Draw]:
        size = self.recipe.batch
        return {"labelled": Draw(size, "labelled", "tiled"), "unlabelled": Draw(size, "unlabelled")}

    def phases(self) -> tuple[Phase, ...]:
        classifier = Player("classifier", ("classifier",), self.classifier_loss, self.recipe.lr)
        generator = Player("generator", ("generator",), self.generator_loss, self.recipe.lr)
        return (Phase("main", 1.0, (classifier, generator)),)

    def classifier_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        images, labels = batch["labelled"]
        supervised = F.cross_entropy(nets.classifier(images, noise), labels)
        real = -F.logsigmoid(score(nets.classifier(batch["unlabelled"], noise))).mean()
        fake = -F.logsigmoid(-score(nets.classifier(self.fakes(nets, noise), noise))).mean()
        return supervised + self.recipe.weight * (real + fake), {"supervised": supervised, "real": real, "fake": fake}

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        return -F.logsigmoid(score(nets.classifier(self.fakes(nets, noise), noise))).mean(), {}

    def fakes(self, nets: Nets, noise: Noise) -> Tensor:
        return nets.generator(noise.uniform(self.recipe.batch, 20))

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.uniform(len(labels), 20))


def score(logits: Tensor) -> Tensor:
    """s, the logit of D."""
    return logits.logsumexp(-1)
