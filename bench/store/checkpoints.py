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
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from bench.errors import UsageError, shorten
from bench.grid.run import Run
from bench.store.atomic import write_atomically

SCHEMA = 1  # raise it when the code of yesterday could not go on from a file of today
KEPT = 2  # files per run: the newest may turn out damaged
LONGEST_HEAD = 2**20  # bytes


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

    def __init__(self, root: Path) -> None:
        self.root = root / ".checkpoints"

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
        folder = self._folder(run.id)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{step:010d}.ckpt", head.model_dump_json().encode() + b"\n" + blob)
        kept = [path for path in self._files(run.id) if int(path.stem) <= step][:KEPT]
        for other in folder.iterdir():
            # older ones; later ones, which were passed over when the run began again; what a killed writer has left
            if other not in kept and not other.is_dir():
                other.unlink()

    def load(self, run: Run, made_by: Mapping[str, str]) -> tuple[Checkpoint | None, list[str]]:
        """The run's newest intact checkpoint, and what had to be passed over, in words.

        Raises:
            UsageError: a file has a newer format, or is a link.
        """
        passed_over: list[str] = []
        for path in self._files(run.id):
            found, problem = _read(path, run, made_by)
            if found is not None:
                goes_on = [f"{run.id}: {text}; goes on from step {found.head.step}" for text in passed_over]
                return found, goes_on
            passed_over.append(f"checkpoint {path.name} {problem}")
        return None, [f"{run.id}: {text}; starts from step 0" for text in passed_over]

    def steps(self, run_id: str) -> list[int]:
        """The steps of a run's checkpoints, newest first."""
        return [int(path.stem) for path in self._files(run_id)]

    def heads(self) -> Iterator[Head]:
        """The newest readable head of each run that has checkpoints, by id."""
        for folder in sorted(self.root.glob("[0-9a-f]*")):
            heads = (_head(path)[0] for path in self._files(folder.name))
            head = next(
                (
                    head
                    for head in heads
                    if head is not None and head.run.id == folder.name and folder.name in head.cohort
                ),
                None,
            )
            if head is not None:
                yield head

    def delete(self, run_id: str) -> None:
        shutil.rmtree(self._folder(run_id), ignore_errors=True)

    def _folder(self, run_id: str) -> Path:
        folder = self.root / run_id
        if self.root.is_symlink() or folder.is_symlink():
            raise UsageError(f"{shorten(folder, 300)} is a link, which may lead out of the results folder. Delete it.")
        return folder

    def _files(self, run_id: str) -> list[Path]:
        """Newest first. A link is no checkpoint of this folder's."""
        folder = self._folder(run_id)
        if not folder.is_dir():
            return []
        files = [p for p in folder.iterdir() if re.fullmatch(r"\d{10}\.ckpt", p.name) and not p.is_symlink()]
        return sorted(files, reverse=True)


def _head(path: Path) -> tuple[Head | None, str]:
    """The head of a file, or what is wrong with it.

    Raises:
        UsageError: the file has a newer format.
    """
    try:
        with path.open("rb") as file:
            data = json.loads(file.readline(LONGEST_HEAD))
    except (OSError, ValueError, RecursionError):
        return None, "is damaged (its first line is no JSON)"
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise UsageError(
            f"checkpoint {shorten(path, 300)} has the newer format {version} (this version reads {SCHEMA}). "
            "Upgrade ssgan-bench, or delete it to train from the start."
        )
    try:
        return Head.model_validate(data), ""
    except ValidationError:
        return None, "is damaged (its first line does not describe a checkpoint)"


def _read(path: Path, run: Run, made_by: Mapping[str, str]) -> tuple[Checkpoint | None, str]:
    head, problem = _head(path)
    if head is None:
        return None, problem
    if head.run.id != run.id or head.step != int(path.stem) or run.id not in head.cohort:
        return None, "is of another run or step than its name says"
    changed = [f"{name} {head.made_by.get(name)}, now {value}" for name, value in made_by.items()
               if head.made_by.get(name) != value]  # fmt: skip
    if changed:
        return None, f"was made by other code or another machine ({'; '.join(changed)})"
    try:
        with path.open("rb") as file:
            file.readline(LONGEST_HEAD)
            blob = file.read()
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    if len(blob) != head.size or hashlib.sha256(blob).hexdigest() != head.sha256:
        return None, f"is damaged ({len(blob)} of {head.size} bytes, or others than were written)"
    try:
        state = torch.load(io.BytesIO(blob), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a forged file makes torch say
        return None, f"cannot be loaded ({shorten(type(error).__name__)})"
    if not isinstance(state, dict) or state.get("at") != head.step:
        return None, "does not hold the state of its step"
    return Checkpoint(head, state), ""
