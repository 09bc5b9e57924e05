"""A folder of run files: `ROOT/DATASET/VARIANT/ID.json`, each written once.

Two machines' results merge by copying one folder over the other. What else lies in hidden folders (locks, progress,
checkpoints of runs in training) can be deleted when nothing is running.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from pydantic import ValidationError

from bench.errors import UsageError, shorten
from bench.grid.run import Run
from bench.store.atomic import write_atomically
from bench.store.checkpoints import Checkpoints
from bench.store.record import SCHEMA, Record


class ConflictError(UsageError):
    """The same run was stored before with other content."""


class Store:
    """The results of one folder. It never reads another store that lies inside the folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.checkpoints = Checkpoints(self.root)

    def make(self) -> None:
        """Makes the folder; while runs train nothing makes it again."""
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, run: Run) -> Path:
        return self.root / _slug(run.dataset) / _slug(run.variant) / f"{run.id}.json"

    def lock(self, run_id: str) -> FileLock:
        """The lock of one run, to be held while it is trained and stored; it is freed when its holder dies."""
        folder = self.root / ".locks"
        self.refuse_links(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{run_id}.lock")

    def held(self, run_id: str) -> bool:
        """Whether somebody, this process included, holds the lock of a run now. Nothing is written to find out."""
        if not (self.root / ".locks" / f"{run_id}.lock").exists():
            return False
        try:
            self.lock(run_id).acquire(timeout=0).lock.release()
        except Timeout:
            return True
        except OSError:  # a folder that may only be read: nobody trains there
            return False
        return False

    def progress_path(self, name: str) -> Path:
        path = self.root / ".progress" / f"{_slug(name)}.jsonl"
        self.refuse_links(path)
        return path

    def write(self, record: Record) -> None:
        """Store a record, whole or not at all. The writer holds the run's lock.

        A failed run is replaced. Anything else stays: the same content again changes nothing.

        Raises:
            ConflictError: the run is stored with other content.
        """
        path = self._place(record.run)
        self.refuse_links(path)
        if path.exists() and (stored := self._read(path)).status != "failed":
            if differences := _differences(stored.content(), record.content()):
                raise ConflictError(_conflict(path, stored, differences))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, record.to_json().encode())

    def has(self, run: Run) -> bool:
        """Whether the run needs no further training: it is done or has diverged. A failed run is to be tried again."""
        path = self._place(run)
        return os.path.exists(path) and self._read(path).status != "failed"  # unlike Path.exists it accepts any text

    def holds(self, run: Run) -> bool:
        """Whether there is a record of the run, a failed one included."""
        return os.path.exists(self._place(run))

    def failure_stamp(self, run: Run) -> int | None:
        """When the record of a failed run was written, in the file system's nanoseconds; None for any other run."""
        path = self._place(run)
        failed = os.path.exists(path) and self._read(path).status == "failed"
        return path.stat().st_mtime_ns if failed else None

    def _place(self, run: Run) -> Path:
        """Where the run is stored, or would be. The same data may have been called otherwise before."""
        path = self.path(run)
        if os.path.exists(path):
            return path
        return next(iter(self.root.glob(f"[!.]*/{path.parent.name}/{path.name}")), path)

    def record(self, run: Run) -> Record:
        """The record of a run that is stored."""
        return self._read(self._place(run))

    def records(self) -> list[Record]:
        """All records, ordered by path.

        Raises:
            UsageError: there is no such folder, or one of its files is no readable record.
        """
        return [self._read(path) for path in self._files()]

    def get(self, name: str) -> Record:
        """The record whose id is `name` or, alone of all, begins with it.

        Raises:
            UsageError: no id or several ids begin so.
        """
        files = self._files()
        found = [path for path in files if name and path.stem.startswith(name)]
        if len(found) == 1:
            return self._read(found[0])
        if found:
            several = ", ".join(str(path.relative_to(self.root).with_suffix("")) for path in found[:5])
            more = ", ..." if len(found) > 5 else ""
            raise UsageError(f"{shorten(name)!r} stands for {len(found)} runs: {several}{more}. Give more of the id.")
        near = difflib.get_close_matches(name, [path.stem for path in files], n=3, cutoff=0.4)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"unknown run {shorten(name)!r}.{meant} Allowed: the id, or the beginning of the id, of one of the "
            f"{len(files)} runs in {shorten(self.root)} (`bench list runs` names them)."
        )

    def writable(self) -> None:
        """Make sure that run files can be written, by trying it; nothing is left behind either way.

        Raises:
            UsageError: they cannot.
        """
        made: list[Path] = []
        try:
            for folder in (*reversed(self.root.parents), self.root):
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                f"--results: cannot write to {shorten(self.root)!r}: {why}. Name a folder that you may write to."
            ) from None
        finally:
            for folder in reversed(made):
                with contextlib.suppress(OSError):  # somebody else has put something into it meanwhile
                    folder.rmdir()

    def refuse_links(self, path: Path) -> None:
        """
        Raises:
            UsageError: the path leads out of the folder.
        """
        if not path.resolve().is_relative_to(self.root.resolve()):
            _refuse(
                path,
                "is a link that leads out of the results folder",
                "Delete the link, and copy to its place what it leads to",
            )

    def _files(self) -> list[Path]:
        if not os.path.isdir(self.root):
            raise UsageError(
                f"there is no results folder {shorten(self.root)!r}. Name an existing one, or fill it with `bench run`."
            )
        files = self.root.glob("*/*/*.json")
        return sorted(file for file in files if not any(p.startswith(".") for p in file.relative_to(self.root).parts))

    def _read(self, path: Path) -> Record:
        self.refuse_links(path)
        try:
            data = json.loads(path.read_bytes(), parse_constant=_no_constant)
        except (OSError, ValueError, RecursionError) as error:
            _refuse(path, f"is not valid JSON ({shorten(error)})", "Delete it; `bench run` makes it anew")
        version = data.get("schema") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            _refuse(path, f"has the newer format {version} (this version reads {SCHEMA})", "Upgrade ssgan-bench")
        try:
            record = Record.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            what = shorten(f"{place}: {first['msg']}")
            _refuse(path, f"is not the record of a run ({what})", "Move it out of the results folder")
        if path != (right := self.path(record.run)):
            wrong = f"holds run {shorten(record.id)}, whose place is {shorten(right.relative_to(self.root), 120)}"
            _refuse(path, wrong, "Move it there or delete it")
        return record


def _slug(name: str) -> str:
    """The name as one visible, portable part of a path; of a long one (a data file's path), the end."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-80:].strip(".-") or "unnamed"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse(path: Path, problem: str, remedy: str) -> NoReturn:
    raise UsageError(f"{shorten(path, 300)} {problem}. {remedy}.")


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


def _conflict(path: Path, stored: Record, differences: list[str]) -> str:
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
    return (
        f"run {stored.id} is already stored with other content in {shorten(path, 300)}: "
        f"{'; '.join(differences[:5])}{more}. To replace it, delete that file and run again."
    )
