"""Everything that the rest of a run's training depends on, run by run and free of the cohort that it trains in.

So a run can be saved in one cohort and go on in another, bit for bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.training.storage import StackedNetwork

if TYPE_CHECKING:
    from bench.training.trainer import Trainer

RunState = dict[str, Any]  # of tensors, numbers, texts, lists and dicts: what `torch.load(weights_only=True)` takes


def run_states(trainer: Trainer) -> list[RunState]:
    """One state per run."""
    return [run_state(trainer, run) for run in range(trainer.runs)]


def run_state(trainer: Trainer, run: int) -> RunState:
    """The state of one run; nothing in it shares memory with the trainer."""
    return {
        "at": trainer.at,
        "seconds": trainer.seconds,
        "networks": {
            name: {"flat": row(net, net.flat, run), "buffers": _of_run(net.buffers, run)}
            for name, net in trainer.networks.items()
        },
        "averages": {
            name: {"flat": row(a.network, a.flat, run), "buffers": _of_run(a.buffers, run), "updates": int(a.updates)}
            for name, a in trainer.averages.items()
        },
        "optimisers": {name: _optimiser_state(trainer, name, run) for name in trainer.optimisers},
        "histories": {
            name: [{"mean": row(h.network, h.mean, run), "count": int(h.count)} for h in own]
            for name, own in trainer.histories.items()
        },
        "state": _of_run(trainer.state, run),
        "generator": trainer.generators[run].get_state(),
        "batches": trainer.batches.run_state(run),
        "touched": torch.from_numpy(trainer.splits[run].labelled.touched_positions),
        "sums": _of_run(trainer.logs.current(), run),
        "counts": dict(trainer.logs.counts),
        "diverged_at": int(trainer.diverged_at[run]),
        "curve": trainer.curves.run_state(run),
    }


def load_run_states(trainer: Trainer, states: Sequence[RunState]) -> None:
    """Goes on where the states were taken, one for each run of the trainer and all after the same step.

    Raises:
        ValueError: they are of different steps, or do not fit the trainer.
    """
    first = states[0]
    if len(states) != trainer.runs or any(state["at"] != first["at"] for state in states):
        raise ValueError(f"{len(states)} states after steps {sorted({s['at'] for s in states})}, {trainer.runs} runs")
    trainer.at, trainer.seconds = first["at"], first["seconds"]
    for phase in trainer.schedule.entered(trainer.at):
        trainer.enter(phase)
    for name, net in trainer.networks.items():
        _load_weights(net, net.flat, net.buffers, [state["networks"][name] for state in states])
    for name, average in trainer.averages.items():
        own = [state["averages"][name] for state in states]
        _load_weights(average.network, average.flat, average.buffers, own)
        average.updates = own[0]["updates"]
    for name in trainer.optimisers:
        _load_optimiser(trainer, name, [state["optimisers"][name] for state in states])
    for name, histories in trainer.histories.items():
        for index, history in enumerate(histories):
            saved = [state["histories"][name][index] for state in states]
            fill(history.network, history.mean, [entry["mean"] for entry in saved])
            history.count = saved[0]["count"]
    for name, value in trainer.state.items():
        _copy(value, [state["state"][name] for state in states])
    for generator, split, state in zip(trainer.generators, trainer.splits, states, strict=True):
        generator.set_state(state["generator"])
        split.labelled.read(state["touched"].numpy())
    trainer.batches.load_run_states([state["batches"] for state in states])
    sums = {name: [state["sums"][name] for state in states] for name in first["sums"]}
    trainer.logs.load(sums, first["counts"], trainer.device)
    trainer.diverged_at.copy_(torch.tensor([state["diverged_at"] for state in states]))
    trainer.curves.load_run_states([state["curve"] for state in states])


def row(network: StackedNetwork, flat: Tensor, run: int) -> Tensor:
    """A run's share `[parameters]` of a tensor of `flat`'s layout."""
    return torch.cat([flat.new_empty(0), *(view[run].flatten() for view in network.views(flat).values())])


def fill(network: StackedNetwork, flat: Tensor, rows: Sequence[Tensor]) -> None:
    """Puts the rows of all runs into a tensor of `flat`'s layout.

    Raises:
        ValueError: a row has another number of parameters than the network.
    """
    views = network.views(flat)
    sizes = [view[0].numel() for view in views.values()]
    for run, own in enumerate(rows):
        if own.shape != (sum(sizes),):
            raise ValueError(f"a state holds {tuple(own.shape)} numbers for a network of {sum(sizes)}")
        for view, piece in zip(views.values(), own.split(sizes) if sizes else (), strict=True):
            view[run].copy_(piece.view_as(view[run]))


def _optimiser_state(trainer: Trainer, player: str, run: int) -> list[dict[str, Any]]:
    """Per network of the player, what the optimiser keeps of it: tensors like its weights, and shared numbers."""
    optimiser = trainer.optimisers[player]
    return [
        {
            key: row(net, value, run) if _is_like(value, net.flat) else _copied(value)
            for key, value in optimiser.state.get(net.flat, {}).items()
        }
        for net in (trainer.networks[name] for name in trainer.owned[player])
    ]


def _load_optimiser(trainer: Trainer, player: str, states: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    optimiser = trainer.optimisers[player]
    for index, name in enumerate(trainer.owned[player]):
        net, own = trainer.networks[name], [state[index] for state in states]
        loaded: dict[str, Any] = {}
        for key, value in own[0].items():
            if isinstance(value, Tensor) and value.dim() == 1:
                loaded[key] = torch.zeros_like(net.flat)
                fill(net, loaded[key], [entry[key] for entry in own])
            else:
                loaded[key] = _copied(value, net.flat.device)
        if loaded:
            optimiser.state[net.flat] = loaded


def _is_like(value: Any, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == flat.shape


def _copied(value: Any, device: torch.device | None = None) -> Any:
    return value.detach().clone().to(device) if isinstance(value, Tensor) else value


def _load_weights(
    network: StackedNetwork, flat: Tensor, buffers: Mapping[str, Tensor], saved: Sequence[Mapping[str, Any]]
) -> None:
    with torch.no_grad():
        fill(network, flat, [entry["flat"] for entry in saved])
    for key, value in buffers.items():
        _copy(value, [entry["buffers"][key] for entry in saved])


def _of_run(stacked: Mapping[str, Tensor], run: int) -> dict[str, Tensor]:
    return {name: value[run].clone() for name, value in stacked.items()}


def _copy(stacked: Tensor, rows: Sequence[Tensor]) -> None:
    if any(own.shape != stacked.shape[1:] for own in rows):
        raise ValueError(f"a state holds a tensor {tuple(rows[0].shape)} for one of {tuple(stacked.shape[1:])}")
    stacked.copy_(torch.stack(list(rows)))
