"""Checkpoints of runs in training: `ROOT/.checkpoints/ID/STEP.ckpt`, the newest two of each run.

A file is one line of JSON, which says whose state it is, after which step and by which code, and the state itself as
`torch.save` writes it. The line holds the state's length and SHA-256, so that a damaged file is known as such; the
state is loaded as tensors and plain values only, so a file from anywhere can run no code. Whoever holds the run's lock
is the only one to write here.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from bench.errors import UsageError, shorten
from bench.grid.run import Run
from bench.store.folder import Folder

SCHEMA = 1  # raise it when the code of yesterday could not go on from a file of today
KEPT = 2  # files per run: the newest may turn out damaged
LONGEST_HEAD = 2**20  # bytes
FOLDER = ".checkpoints"


class Head(BaseModel):
    """The first line of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA
    run: Run
    step: NonNegativeInt
    cohort: tuple[str, ...]  # ids of the runs that trained together
    made_by: dict[str, str]  # code, torch, device: what a run must not change in its middle
    size: NonNegativeInt  # of the state, bytes
    sha256: str  # of the state


@dataclass(frozen=True)
class Checkpoint:
    """A state that can be gone on from."""

    head: Head
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints in one results folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def save(
        self, run: Run, step: int, state: Mapping[str, Any], cohort: tuple[str, ...], made_by: Mapping[str, str]
    ) -> None:
        """Writes the run's state, whole or not at all, and keeps the one before it."""
        content = io.BytesIO()
        torch.save(dict(state), content)
        blob = content.getvalue()
        head = Head(
            run=run, step=step, cohort=cohort, made_by=dict(made_by), size=len(blob),
            sha256=hashlib.sha256(blob).hexdigest(),
        )  # fmt: skip
        self.folder.write(_name(run.id, step), head.model_dump_json().encode() + b"\n" + blob)
        kept = [_name(run.id, at) for at in self.steps(run.id) if at <= step][:KEPT]
        for pattern in ("*", ".*"):
            for other in self.folder.stamps(f"{FOLDER}/{run.id}/{pattern}"):
                # older ones; later ones, passed over when the run began again; what a killed writer has left
                if other not in kept:
                    self.folder.delete(other)

    def load(self, run: Run, made_by: Mapping[str, str]) -> tuple[Checkpoint | None, list[str]]:
        """The run's newest intact checkpoint, and what had to be passed over, in words.

        Raises:
            UsageError: a file has a newer format, or is a link.
        """
        passed_over: list[str] = []
        for step in self.steps(run.id):
            found, problem = self._read(run, step, made_by)
            if found is not None:
                goes_on = [f"{run.id}: {text}; goes on from step {found.head.step}" for text in passed_over]
                return found, goes_on
            passed_over.append(f"checkpoint {step:010d}.ckpt {problem}")
        return None, [f"{run.id}: {text}; starts from step 0" for text in passed_over]

    def steps(self, run_id: str) -> list[int]:
        """The steps of a run's checkpoints, newest first."""
        return self._all(run_id).get(run_id, [])

    def heads(self) -> Iterator[Head]:
        """The newest readable head of each run that has checkpoints, by id."""
        for run_id, steps in self._all("*").items():
            heads = (self._head(_name(run_id, step))[0] for step in steps)
            own = (h for h in heads if h is not None and h.run.id == run_id and run_id in h.cohort)
            if (head := next(own, None)) is not None:
                yield head

    def delete(self, run_id: str) -> None:
        self.folder.delete(f"{FOLDER}/{run_id}")

    def _all(self, run_id: str) -> dict[str, list[int]]:
        """The steps of checkpoints by run, newest first."""
        found: dict[str, list[int]] = {}
        for name in self.folder.stamps(f"{FOLDER}/{run_id}/*.ckpt"):
            _, own, file = name.split("/")
            if re.fullmatch(r"\d{10}\.ckpt", file):
                found.setdefault(own, []).insert(0, int(file[:10]))
        return found

    def _head(self, name: str) -> tuple[Head | None, str]:
        try:
            return _parse_head(self.folder.read(name, most=LONGEST_HEAD), name)
        except OSError as error:
            return None, f"cannot be read ({error.strerror})"

    def _read(self, run: Run, step: int, made_by: Mapping[str, str]) -> tuple[Checkpoint | None, str]:
        name = _name(run.id, step)
        try:
            content = self.folder.read(name)
        except OSError as error:
            return None, f"cannot be read ({error.strerror})"
        head, problem = _parse_head(content[:LONGEST_HEAD], name)
        if head is None:
            return None, problem
        if head.run.id != run.id or head.step != step or run.id not in head.cohort:
            return None, "is of another run or step than its name says"
        changed = [f"{key} {head.made_by.get(key)}, now {value}" for key, value in made_by.items()
                   if head.made_by.get(key) != value]  # fmt: skip
        if changed:
            return None, f"was made by other code or another machine ({'; '.join(changed)})"
        return _checkpoint(head, content.partition(b"\n")[2])


def _name(run_id: str, step: int) -> str:
    return f"{FOLDER}/{run_id}/{step:010d}.ckpt"


def _parse_head(beginning: bytes, name: str) -> tuple[Head | None, str]:
    """The head of a file, or what is wrong with it.

    Raises:
        UsageError: the file has a newer format.
    """
    try:
        data = json.loads(beginning.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return None, "is damaged (its first line is no JSON)"
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise UsageError(
            f"checkpoint {shorten(name, 300)} has the newer format {version} (this version reads {SCHEMA}). "
            "Upgrade ssgan-bench, or delete it to train from the start."
        )
    try:
        return Head.model_validate(data), ""
    except ValidationError:
        return None, "is damaged (its first line does not describe a checkpoint)"


def _checkpoint(head: Head, blob: bytes) -> tuple[Checkpoint | None, str]:
    if len(blob) != head.size or hashlib.sha256(blob).hexdigest() != head.sha256:
        return None, f"is damaged ({len(blob)} of {head.size} bytes, or others than were written)"
    try:
        state = torch.load(io.BytesIO(blob), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a forged file makes torch say
        return None, f"cannot be loaded ({shorten(type(error).__name__)})"
    if not isinstance(state, dict) or state.get("at") != head.step:
        return None, "does not hold the state of its step"
    return Checkpoint(head, state), ""
