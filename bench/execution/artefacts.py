"""What a run can leave beside its file: weights, test logits, samples (safetensors)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from bench.store import Record, Store
from bench.store.atomic import write_atomically
from bench.training.sampling import Samples
from bench.training.trainer import Trainer


def save_artefacts(
    record: Record, index: int, trainer: Trainer, samples: Samples | None, store: Store, weights: bool, logits: bool
) -> Record:
    """Writes weights (averaged where the accuracy is theirs), test logits and samples; the record names the files."""
    if not weights and not logits and samples is None:
        return record
    averaged = record.accuracy_of == "ema"
    base = store.path(record.run)
    store.refuse_links(base)
    base.parent.mkdir(parents=True, exist_ok=True)
    artefacts = {}
    if weights:
        tensors = {
            f"{network}/{name}": tensor[index].contiguous().cpu()
            for network, net in trainer.networks.items()
            for name, tensor in _tensors(trainer, network, averaged and network in trainer.averages).items()
        }
        artefacts["weights"] = _write(base, "weights", tensors)
    if logits:
        own = trainer.evaluator.logits(averaged)[index].contiguous().cpu()
        artefacts["logits"] = _write(base, "logits", {"logits": own})
    if samples is not None and (kept := samples.of_run(index)):
        artefacts["samples"] = _write(base, "samples", kept)
    return record.model_copy(update={"artefacts": artefacts})


def _write(base: Path, kind: str, tensors: Mapping[str, Tensor]) -> str:
    path = base.with_suffix(f".{kind}.safetensors")
    write_atomically(path, save(dict(tensors)))
    return path.name


def _tensors(trainer: Trainer, network: str, averaged: bool) -> dict[str, Tensor]:
    net = trainer.networks[network]
    if averaged:
        average = trainer.averages[network]
        return {**average.parameters(), **average.buffers}
    return {**net.parameters, **net.buffers}
