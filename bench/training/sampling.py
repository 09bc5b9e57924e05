"""What pictures are made of: images that each run's generator makes from the same noise along training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.datasets import Dataset
from bench.streams import torch_generator
from bench.training import noise
from bench.training.executor import assemble
from bench.training.trainer import Trainer
from bench.variant import Nets, Noise, Variant

FRAMES = 20  # at most, along training
PER_CLASS = 10  # images
POINTS = 1000  # where the data are vectors
STEPS = 11  # of an interpolation between two classes
SIDE = 7  # of the grid that mixes two attributes
MESH = 120  # of the plane, where the data are points in it


class Grouped(Noise):
    """Noise for a batch in which examples of one group get the same numbers; `groups [batch]` counts from 0."""

    def __init__(self, source: Noise, groups: Tensor) -> None:
        super().__init__(source._normal, source._uniform)
        self.source, self.groups, self.count = source, groups, int(groups.max()) + 1

    def normal(self, *shape: int) -> Tensor:
        return self.source.normal(self.count, *shape[1:])[self.groups]

    def uniform(self, *shape: int) -> Tensor:
        return self.source.uniform(self.count, *shape[1:])[self.groups]


@torch.no_grad()
def generate(variant: Variant, nets: Nets, labels: Tensor, seed: int, groups: Tensor | None = None) -> Tensor | None:
    """Scaled images `[n, *image_shape]` for labels `[n]` (or weights `[n, K]`); None where there is no generator.

    The noise is a stream of the seed; examples of one group share it.
    """

    def make(source: Noise) -> Tensor | None:
        return variant.generate(nets, source if groups is None else Grouped(source, groups), labels)

    lengths = noise.measure(make, labels.device)
    tape = noise.record([torch_generator(labels.device, seed, "noise", "samples")], lengths, labels.device)
    return make(Noise(tape.normal[0], tape.uniform[0]))


def rows_of_classes(classes: int, per_class: int = PER_CLASS) -> Tensor:
    """Labels of a grid with one row per class: `[classes * per_class]`."""
    return torch.arange(classes).repeat_interleave(per_class)


def mixtures(variant: Variant, nets: Nets, seed: int, device: torch.device) -> dict[str, Tensor]:
    """Two kinds of pictures that only a conditional generator can make, scaled.

    `interpolation [K, STEPS, ...]`: from each class to the next with the same noise. `attributes [SIDE, SIDE, ...]`:
    one noise, class 0 mixed with class 1 to the right and with class 2 downwards (from three classes on). They are
    made beside ordinary images, which give batch norm its statistics.
    """
    k = variant.task.classes
    one_hot = torch.eye(k, device=device)
    t = torch.linspace(0, 1, STEPS, device=device)[:, None]
    codes = [(1 - t) * one_hot[a] + t * one_hot[(a + 1) % k] for a in range(k)]
    if k > 2:
        right, down = (torch.linspace(0, 1, SIDE, device=device).view(*view) for view in ((1, -1, 1), (-1, 1, 1)))
        mixed = one_hot[0] + right * (one_hot[1] - one_hot[0]) + down * (one_hot[2] - one_hot[0])
        codes.append(mixed.view(-1, k))
    ordinary = one_hot[rows_of_classes(k).to(device)]
    sizes = [1] * len(ordinary) + [len(part) for part in codes]
    groups = torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device))
    images = generate(variant, nets, torch.cat([ordinary, *codes]), seed, groups)
    assert images is not None
    between = images[len(ordinary) : len(ordinary) + k * STEPS]
    found = {"interpolation": between.view(k, STEPS, *variant.task.image_shape)}
    if k > 2:
        found["attributes"] = images[len(ordinary) + k * STEPS :].view(SIDE, SIDE, *variant.task.image_shape)
    return found


class Samples:
    """Collects the samples of a cohort; call it after every step.

    Of each run: `steps [frames]`; `images [frames, n, *image_shape]` as stored images, `labels [n]`; for points in the
    plane `classes [frames, MESH, MESH]`, the answers on a mesh from -`extent` to `extent`, and the data: `points` and
    `labelled`; at the end `mixtures`.
    """

    def __init__(self, trainer: Trainer) -> None:
        at = sorted(trainer.schedule.evaluations)
        frames = min(FRAMES, len(at))
        self.due = {at[round((i + 1) * len(at) / frames) - 1] for i in range(frames)}
        task = trainer.variant.task
        labels = torch.arange(POINTS) % task.classes if len(task.image_shape) == 1 else rows_of_classes(task.classes)
        self.labels = labels.to(trainer.device)
        # run -> frames; a run that was resumed may have more or fewer of them than its cohort
        self.steps: list[list[int]] = [[] for _ in range(trainer.runs)]
        self.images: list[list[Tensor]] = [[] for _ in range(trainer.runs)]
        self.classes: list[list[Tensor]] = [[] for _ in range(trainer.runs)]
        self.last: list[dict[str, Tensor]] = [{} for _ in range(trainer.runs)]
        self.dataset, self.splits = trainer.dataset, trainer.splits
        self.mesh: Tensor | None = None
        if task.image_shape == (2,):
            self.mesh, self.extent = _mesh(trainer.dataset)

    def __call__(self, trainer: Trainer) -> None:
        if trainer.at not in self.due:
            return
        variant, dataset = trainer.variant, trainer.dataset
        for run, seed in enumerate(trainer.seeds):
            self.steps[run].append(trainer.at)
            nets = _networks(trainer, run)
            images = generate(variant, nets, self.labels, seed)
            if images is not None:
                self.images[run].append(dataset.unscale(images).cpu())
            if variant.conditional and trainer.at == trainer.schedule.steps:
                mixed = mixtures(variant, nets, seed, trainer.device)
                self.last[run] = {name: dataset.unscale(value).cpu() for name, value in mixed.items()}
        if self.mesh is not None:
            averaged = variant.recipe.evaluate_with == "ema" and trainer.averaged
            answers = trainer.evaluator.answers(self.mesh.to(trainer.device), averaged, shared=True)
            for run, own in enumerate(answers.argmax(-1).to(torch.uint8).view(trainer.runs, MESH, MESH).cpu()):
                self.classes[run].append(own)

    def of_run(self, run: int) -> dict[str, Tensor]:
        """What there is of one run; nothing where there is no generator and no plane."""
        if not self.images[run] and not self.classes[run]:
            return {}
        found = {"steps": torch.tensor(self.steps[run]), **self.last[run]}
        if self.images[run]:
            found |= {"images": torch.stack(self.images[run]), "labels": self.labels.cpu()}
        if self.classes[run]:
            classes = torch.stack(self.classes[run])
            data = self.dataset.train_images
            labelled = data[torch.from_numpy(self.splits[run].labelled.indices.copy())]
            found |= {"classes": classes, "extent": torch.tensor([self.extent])}
            found |= {"points": data[:POINTS].clone(), "labelled": labelled}
        return found

    def run_state(self, run: int) -> dict[str, Any]:
        """One run's frames up to now."""
        return {"steps": list(self.steps[run]), "images": list(self.images[run]), "classes": list(self.classes[run])}

    def load_run_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """The frames up to where training goes on; none of a run whose state was saved without any."""
        for run, state in enumerate(states):
            self.steps[run], self.images[run], self.classes[run] = (
                list(state.get(key, [])) for key in ("steps", "images", "classes")
            )


def _mesh(dataset: Dataset) -> tuple[Tensor, float]:
    """Points `[MESH^2, 2]`, row by row from below, on a square that holds the data, and half its side."""
    extent = 1.2 * float(dataset.train_images.abs().max())
    line = torch.linspace(-extent, extent, MESH)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1), extent


def _networks(trainer: Trainer, run: int) -> Nets:
    tensors = {
        name: {key: value[run] for key, value in (net.parameters | net.buffers).items()}
        for name, net in trainer.networks.items()
    }
    return assemble(trainer.networks, tensors)
