"""What the evaluations of a cohort have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Curves:
    """What the evaluations have found: for each point the step, the seconds, and per run errors and losses."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.seconds: list[float] = []
        self.errors: list[dict[str, list[int]]] = []
        self.logs: list[dict[str, list[float]]] = []

    def add(self, step: int, seconds: float, errors: dict[str, list[int]], logs: dict[str, list[float]]) -> None:
        self.steps.append(step)
        self.seconds.append(seconds)
        self.errors.append(errors)
        self.logs.append(logs)

    def run(self, index: int) -> tuple[dict[str, list[int]], dict[str, list[float | None]]]:
        """One run's errors by kind, and its mean losses by name (None where a loss was not in play)."""
        kinds = sorted({kind for point in self.errors for kind in point})
        names = sorted({name for point in self.logs for name in point})
        errors = {kind: [point[kind][index] for point in self.errors if kind in point] for kind in kinds}
        logs = {name: [point[name][index] if name in point else None for point in self.logs] for name in names}
        return errors, logs

    def run_state(self, index: int) -> dict[str, Any]:
        """One run's points."""
        return {
            "steps": list(self.steps),
            "seconds": list(self.seconds),
            "errors": [{kind: value[index] for kind, value in point.items()} for point in self.errors],
            "logs": [{name: value[index] for name, value in point.items()} for point in self.logs],
        }

    def load_run_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """The points of all runs, from one state of each."""
        self.steps, self.seconds = list(states[0]["steps"]), list(states[0]["seconds"])
        self.errors, self.logs = (
            [
                {name: [state[key][point][name] for state in states] for name in states[0][key][point]}
                for point in range(len(self.steps))
            ]
            for key in ("errors", "logs")
        )
