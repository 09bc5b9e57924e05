"""What a run can leave beside its file: weights, test logits, samples (safetensors)."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from bench.store import Record, Store, beside
from bench.training.sampling import Samples
from bench.training.trainer import Trainer


def save_artefacts(
    record: Record, index: int, trainer: Trainer, samples: Samples | None, store: Store, weights: bool, logits: bool
) -> Record:
    """Writes weights (averaged where the accuracy is theirs), test logits and samples; the record names the files."""
    if not weights and not logits and samples is None:
        return record
    averaged = record.accuracy_of == "ema"
    kept: dict[str, Mapping[str, Tensor]] = {}
    if weights:
        kept["weights"] = {
            f"{network}/{name}": tensor[index].contiguous().cpu()
            for network, net in trainer.networks.items()
            for name, tensor in _tensors(trainer, network, averaged and network in trainer.averages).items()
        }
    if logits:
        kept["logits"] = {"logits": trainer.evaluator.logits(averaged)[index].contiguous().cpu()}
    if samples is not None and (own := samples.of_run(index)):
        kept["samples"] = own
    artefacts = {kind: f"{record.id}.{kind}.safetensors" for kind in kept}
    for kind, tensors in kept.items():
        store.folder.write(beside(store.name(record.run), artefacts[kind]), save(dict(tensors)))
    return record.model_copy(update={"artefacts": artefacts})


def _tensors(trainer: Trainer, network: str, averaged: bool) -> dict[str, Tensor]:
    net = trainer.networks[network]
    if averaged:
        average = trainer.averages[network]
        return {**average.parameters(), **average.buffers}
    return {**net.parameters, **net.buffers}
