"""A folder of run files: `ROOT/DATASET/VARIANT/ID.json`, each written once.

Two machines' results merge by copying one folder over the other. What else lies in hidden folders (locks, progress,
checkpoints of runs in training) can be deleted when nothing is running.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError

from bench.errors import UsageError, shorten
from bench.grid.run import Run
from bench.store.checkpoints import Checkpoints
from bench.store.journal import Journal, journal
from bench.store.place import open_folder
from bench.store.record import SCHEMA, Record

RUNS = "*/*/*.json"


class ConflictError(UsageError):
    """The same run was stored before with other content."""


class Standing(NamedTuple):
    """What is stored of a run."""

    status: str | None = None  # as recorded; None: nothing
    stamp: Hashable = None  # changes whenever the record is written

    @property
    def settled(self) -> bool:
        """Whether the run needs no further training: it is done or has diverged. A failed one is to be tried again."""
        return self.status not in (None, "failed")


class Store:
    """The results of one folder. It never reads another store that lies inside the folder."""

    def __init__(self, root: Path | str) -> None:
        """
        Raises:
            UsageError: `root` is an address that nothing installed here understands.
        """
        self.folder = open_folder(root)
        self.checkpoints = Checkpoints(self.folder)
        self._statuses: dict[tuple[str, Hashable], str] = {}  # of a file as it was once read

    def name(self, run: Run) -> str:
        """The run's file."""
        return f"{_slug(run.dataset)}/{_slug(run.variant)}/{run.id}.json"

    def where(self, name: str) -> str:
        """A file's name as the user can use it."""
        return f"{self.folder.shown}/{name}"

    def hold(self, run: Run) -> AbstractContextManager[Any] | None:
        """The run's lock, while it is trained and stored, freed when its holder dies; None where somebody has it."""
        return self.folder.hold(run.id)

    def held(self, run: Run) -> bool:
        return self.folder.held(run.id)

    def journal(self, cohort: str) -> Journal:
        return journal(self.folder, f".progress/{_slug(cohort)}.jsonl")

    # --- records ---

    def write(self, record: Record) -> None:
        """Store a record, whole or not at all. The writer holds the run's lock.

        A failed run is replaced. Anything else stays: the same content again changes nothing.

        Raises:
            ConflictError: the run is stored with other content.
        """
        name = self._places([record.run])[record.id]
        stored = self.read(name) if name else None
        if stored is not None and stored.status != "failed":
            if differences := _differences(stored.content(), record.content()):
                raise ConflictError(_conflict(self.where(str(name)), stored, differences))
            return
        self.folder.write(name or self.name(record.run), record.to_json().encode())

    def standings(self, runs: Iterable[Run]) -> dict[str, Standing]:
        """What is stored of each run, by id, at one look."""
        runs = list(runs)
        stamps = self._stamps(runs)
        places = self._places(runs, stamps)
        seen = {run_id: (name, stamps[name]) for run_id, name in places.items() if name is not None}
        unread = dict.fromkeys(name for name, stamp in seen.values() if (name, stamp) not in self._statuses)
        for name, content in self.folder.read_all(unread):
            self._statuses[name, stamps[name]] = self._parsed(name, content).status
        found = {run_id: Standing(self._statuses[key], key[1]) for run_id, key in seen.items()}
        return {run_id: found.get(run_id, Standing()) for run_id in places}

    def has(self, run: Run) -> bool:
        """Whether the run needs no further training."""
        return self.standings([run])[run.id].settled

    def _stamps(self, runs: Sequence[Run]) -> dict[str, Hashable]:
        """The files among which these runs' are, if they are stored."""
        return self.folder.stamps(RUNS if len(runs) != 1 else f"*/{self.name(runs[0]).partition('/')[2]}")

    def _places(self, runs: Sequence[Run], stored: Iterable[str] | None = None) -> dict[str, str | None]:
        """The file of each run, by id; None where there is none. The same data may have been called otherwise once."""
        names = self._stamps(runs) if stored is None else stored
        own, elsewhere = set(names), {name.partition("/")[2]: name for name in names}
        return {
            run.id: name if (name := self.name(run)) in own else elsewhere.get(name.partition("/")[2]) for run in runs
        }

    def record(self, run: Run) -> Record:
        """The record of a run that is stored."""
        return self.read(self._places([run])[run.id] or self.name(run))

    def records(self, runs: Iterable[Run] | None = None) -> Iterator[Record]:
        """The records of these runs, which are stored, or of all, ordered by name. Each is read when it is asked for.

        Raises:
            UsageError: there is no such folder, or one of the files is not there or no readable record.
        """
        if runs is None:
            names = self.names()
        else:
            by_id = {run.id: run for run in runs}
            names = [place or self.name(by_id[own]) for own, place in self._places(list(by_id.values())).items()]
        return (self._parsed(name, content) for name, content in self.folder.read_all(names))

    def get(self, name: str) -> Record:
        """The record whose id is `name` or, alone of all, begins with it.

        Raises:
            UsageError: no id or several ids begin so.
        """
        ids = {file: file.split("/")[2].removesuffix(".json") for file in self.names()}
        found = [file for file, run_id in ids.items() if name and run_id.startswith(name)]
        if len(found) == 1:
            return self.read(found[0])
        if found:
            several = ", ".join(file.removesuffix(".json") for file in found[:5])
            more = ", ..." if len(found) > 5 else ""
            raise UsageError(f"{shorten(name)!r} stands for {len(found)} runs: {several}{more}. Give more of the id.")
        near = difflib.get_close_matches(name, ids.values(), n=3, cutoff=0.4)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"unknown run {shorten(name)!r}.{meant} Allowed: the id, or the beginning of the id, of one of the "
            f"{len(ids)} runs in {shorten(self.folder.shown)} (`bench list runs` names them)."
        )

    def names(self) -> list[str]:
        """All run files.

        Raises:
            UsageError: there is no such folder.
        """
        if not self.folder.exists():
            raise UsageError(
                f"there is no results folder {shorten(self.folder.shown)!r}. Name an existing one, or fill it with "
                "`bench run`."
            )
        return list(self.folder.stamps(RUNS))

    def artefact(self, record: Record, kind: str) -> bytes | None:
        """What the run has kept beside its file; None where it kept nothing, or the file was not copied along."""
        name = record.artefacts.get(kind)
        if not name or not (last := re.split(r"[/\\]", name)[-1]).strip("."):
            return None
        try:
            return self.folder.read(beside(self.name(record.run), last))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> Record:
        """The record in a file.

        Raises:
            UsageError: it is not there, or no readable record.
        """
        try:
            content: bytes | OSError = self.folder.read(name)
        except OSError as error:
            content = error
        return self._parsed(name, content)

    def _parsed(self, name: str, content: bytes | OSError) -> Record:
        place = self.where(name)
        if isinstance(content, OSError):
            _refuse(place, f"cannot be read ({shorten(content)})", "Delete it; `bench run` makes it anew")
        if b"NaN" in content or b"Infinity" in content:  # perhaps in a text, where they may be
            _refuse_constants(place, content)
        try:
            record = Record.model_validate_json(content)
        except ValidationError as error:
            _refuse(place, *_fault(content, error))
        if record.schema_version > SCHEMA:
            _refuse(place, *_newer(record.schema_version))
        if name != (right := self.name(record.run)):
            wrong = f"holds run {shorten(record.id)}, whose place is {shorten(right, 120)}"
            _refuse(place, wrong, "Move it there or delete it")
        return record


def beside(name: str, other: str) -> str:
    """Another file in the same folder."""
    return f"{name.rpartition('/')[0]}/{other}"


def _fault(content: bytes, error: ValidationError) -> tuple[str, str]:
    """What is wrong with a file that holds no record, and what to do."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as problem:
        return _not_json(problem)
    version = data.get("schema") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        return _newer(version)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    what = shorten(f"{place}: {first['msg']}")
    return f"is not the record of a run ({what})", "Move it out of the results folder"


def _refuse_constants(place: str, content: bytes) -> None:
    """pydantic would take them for numbers."""
    try:
        json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        _refuse(place, *_not_json(problem))


def _not_json(problem: Exception) -> tuple[str, str]:
    return f"is not valid JSON ({shorten(problem)})", "Delete it; `bench run` makes it anew"


def _newer(version: int) -> tuple[str, str]:
    return f"has the newer format {version} (this version reads {SCHEMA})", "Upgrade ssgan-bench"


def _slug(name: str) -> str:
    """The name as one visible, portable part of a path; of a long one (a data file's path), the end."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-80:].strip(".-") or "unnamed"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse(place: str, problem: str, remedy: str) -> NoReturn:
    raise UsageError(f"{shorten(place, 300)} {problem}. {remedy}.")


def _differences(stored: Any, new: Any, where: str = "") -> list[str]:
    """Where two contents differ, each as `curve.raw: 12 stored, 14 new`; of two lists, the first place."""
    if isinstance(stored, dict) and isinstance(new, dict):
        places = [(f"{where}.{k}" if where else k, k) for k in sorted(stored.keys() | new.keys())]
        return [text for place, k in places for text in _differences(stored.get(k), new.get(k), place)]
    if stored == new:
        return []
    if isinstance(stored, list) and isinstance(new, list) and len(stored) == len(new):
        at = next(i for i, pair in enumerate(zip(stored, new, strict=True)) if pair[0] != pair[1])
        return _differences(stored[at], new[at], f"{where}[{at}]")
    return [f"{where}: {shorten(stored, 40)} stored, {shorten(new, 40)} new"]


def _conflict(place: str, stored: Record, differences: list[str]) -> str:
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
    return (
        f"run {stored.id} is already stored with other content in {shorten(place, 300)}: "
        f"{'; '.join(differences[:5])}{more}. To replace it, delete that file and run again."
    )
