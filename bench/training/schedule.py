"""Which phase a step belongs to, and after which steps to evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from bench.variant import Phase


class Schedule:
    """The phases laid out over `steps` steps: each gets its share, and at least one step where there are enough."""

    def __init__(self, phases: Sequence[Phase], steps: int, evaluations: int) -> None:
        self.phases, self.steps = [p for p in phases if p.share > 0], steps
        self.ends = _ends([p.share for p in self.phases], steps)
        self.evaluations = {round(steps * (k + 1) / evaluations) for k in range(evaluations)} - {0}

    def phase(self, step: int) -> Phase:
        """The phase of step `step` (counted from 0)."""
        return next(phase for phase, end in zip(self.phases, self.ends, strict=True) if step < end)

    def entered(self, step: int) -> list[Phase]:
        """The phases that steps before `step` belonged to, in order."""
        starts = [0, *self.ends]
        return [
            phase for phase, start, end in zip(self.phases, starts, self.ends, strict=False) if start < min(step, end)
        ]


def _ends(shares: Sequence[float], steps: int) -> list[int]:
    """The step at which each phase ends."""
    total, done = sum(shares), 0.0
    ends: list[int] = []
    for index, share in enumerate(shares):
        done += share
        end = round(steps * done / total)
        if steps >= len(shares):  # room for a step of every phase: of this one, and of those that follow
            end = min(max(end, index + 1, (ends[-1] if ends else 0) + 1), steps - (len(shares) - index - 1))
        ends.append(end)
    return ends
