"""A trained run, put together again from its saved weights: to classify and to generate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from bench import registry
from bench.datasets import Dataset
from bench.errors import UsageError, shorten
from bench.execution.cohorts import variant_of
from bench.store import Record, Store
from bench.training.executor import assemble
from bench.training.storage import StackedNetwork, template
from bench.training.trainer import PART
from bench.variant import Nets, Task, Variant

KEY = "ssgan-bench"  # of the card in a model file's metadata
CONSTANT = "constant/"  # before the names of what `Variant.constants` has returned


@dataclass(frozen=True)
class Card:
    """What a model file says about its weights: enough to build the networks and to prepare an image for them."""

    run: str  # the run's id
    variant: str
    version: int
    recipe: dict[str, Any]
    task: Task
    shift: float  # network input = (stored image - shift) / divisor
    divisor: float
    class_names: tuple[str, ...]

    def build(self) -> Variant:
        """The variant of the card.

        Raises:
            UsageError: it is unknown here, or of another version.
        """
        kind = registry.get(self.variant)
        if kind.version != self.version:
            raise UsageError(
                f"the model is of version {self.version} of variant {self.variant!r}; this is {kind.version}. "
                "Train the run again."
            )
        return kind(self.task, kind.recipe_type.model_validate_json(json.dumps(self.recipe), strict=True))


class Trained:
    """One run's networks with their weights, on the CPU."""

    def __init__(self, card: Card, variant: Variant, weights: Mapping[str, Tensor]) -> None:
        """`weights`: tensors by `network/name`; networks without any are left out.

        Raises:
            UsageError: the weights are not those of the variant's networks.
        """
        self.card, self.variant, self.weights = card, variant, dict(weights)
        variant.constant = {k.partition("/")[2]: v for k, v in weights.items() if k.startswith(CONSTANT)}
        self.networks: dict[str, StackedNetwork] = {}
        self.tensors: dict[str, dict[str, Tensor]] = {}
        present = {name.split("/")[0] for name in weights}
        for name, make in variant.networks().items():
            if name in present:
                own = {k.partition("/")[2]: v for k, v in weights.items() if k.split("/")[0] == name}
                module = make()
                try:
                    module.load_state_dict(own)
                except RuntimeError as error:
                    raise UsageError(f"the weights do not fit network {name!r}: {shorten(error, 300)}.") from error
                self.networks[name] = StackedNetwork(template(make), [module], torch.device("cpu"))
                self.tensors[name] = dict(own)

    def nets(self) -> Nets:
        return assemble(self.networks, self.tensors)

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Logits `[n, K]` for stored images `[n, *image_shape]`, such as uint8."""
        size = self.variant.evaluation_batch
        scaled = ((part.float() - self.card.shift) / self.card.divisor for part in images.split(size))
        return torch.cat([self.variant.classify(self.nets(), part) for part in scaled])

    def classifier(self) -> Trained:
        """The same with those networks only that `classify` calls."""
        used: set[str] = set()

        class Watched:
            def __getattr__(_, name: str) -> Any:
                used.add(name)
                return getattr(self.nets(), name)

        with torch.no_grad():
            self.variant.classify(Watched(), torch.zeros(2, *self.variant.task.image_shape))  # type: ignore[arg-type]
        kept = {k: v for k, v in self.weights.items() if k.split("/")[0] in used or k.startswith(CONSTANT)}
        return Trained(self.card, self.variant, kept)

    def metadata(self) -> dict[str, str]:
        """For a safetensors file that `read_model` reads."""
        return {KEY: json.dumps(asdict(self.card))}


def of_record(store: Store, record: Record, source: Callable[[], Dataset]) -> tuple[Trained, Dataset]:
    """The networks of a stored run, and its dataset.

    Raises:
        UsageError: the run's weights were not saved or do not fit, or the dataset is not the one of the run.
    """
    content = store.artefact(record, "weights")
    if content is None:
        raise UsageError(
            f"run {record.id} has no saved weights. Train it with --save-weights (into another --results, "
            f"if it is stored already): `bench show {record.id}` names the command."
        )
    dataset = source()
    if dataset.content_hash != record.run.dataset_hash:
        raise UsageError(f"run {record.id} was trained on other data than {dataset.name!r} is now.")
    run, variant = record.run, variant_of(record.run, dataset)
    card = Card(
        run.id, run.variant, run.version, run.recipe, variant.task, dataset.shift, dataset.divisor, dataset.class_names
    )
    parts = (dataset.scale(part) for part in dataset.train_images.split(PART))
    constants = {CONSTANT + name: value for name, value in variant.constants(parts).items()}
    return Trained(card, card.build(), {**_weights(content, record), **constants}), dataset


def _weights(content: bytes, record: Record) -> dict[str, Tensor]:
    try:
        return load(content)
    except SafetensorError as error:
        raise UsageError(f"the weights of run {record.id} are no readable safetensors: {shorten(error)}.") from error


def read_model(path: Path) -> Trained:
    """A model file that `bench export` wrote.

    Raises:
        UsageError: it is none.
    """
    weights, metadata = _read(path)
    try:
        card = TypeAdapter(Card).validate_json(metadata[KEY])
    except (KeyError, ValidationError) as error:
        raise UsageError(f"{shorten(path, 300)} was not written by `bench export`.") from error
    return Trained(card, card.build(), weights)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{shorten(path, 300)} is no readable safetensors file: {shorten(error)}.") from error
