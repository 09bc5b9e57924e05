"""How a grid is told to stop, and how its workers hear of it: they save a checkpoint and return."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from bench.store.place import is_remote, open_folder

PATIENCE, REMOTE_PATIENCE = 0.25, 5.0  # seconds between two looks at the flag; where each costs a request
SAME = 1.0  # seconds within which signals are one request: some tools send a process theirs and its group's


class Stopped(Exception):
    """A worker was told to stop; its runs have a checkpoint."""


@dataclass(frozen=True)
class Flag:
    """A file that means: stop. It reaches every worker whatever it is doing, and wherever a signal would find it."""

    root: str  # a folder, or an address: see `open_folder`
    name: str = "stop"

    def raised(self) -> bool:
        return bool(open_folder(self.root).stamps(self.name))

    def raise_(self) -> None:
        open_folder(self.root).write(self.name, b"")

    def lower(self) -> None:
        open_folder(self.root).delete(self.name)


@dataclass(frozen=True)
class Orders:
    """What tells the workers of one call to stop. It travels to them with their job."""

    flag: Flag | None = None  # somebody has asked
    deadline: float | None = None  # seconds since the epoch
    parent: int | None = None  # the process of this machine that waits for the workers: without it they stop

    @property
    def patience(self) -> float:
        """Seconds between two looks."""
        return REMOTE_PATIENCE if self.flag is not None and is_remote(self.flag.root) else PATIENCE

    def overdue(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def given(self) -> bool:
        """Whether workers are to stop now."""
        return self.overdue() or self._orphaned() or (self.flag is not None and self.flag.raised())

    def _orphaned(self) -> bool:
        return self.parent is not None and self.parent not in (os.getpid(), os.getppid())


@contextmanager
def interruptible(deadline: float | None, say: Callable[[str], None], shared: str | None = None) -> Iterator[Orders]:
    """While this lasts, Ctrl-C and SIGTERM raise the flag and let workers finish their step; a second one kills them.

    Args:
        say: is told what happens.
        shared: the results folder, where workers are on other machines: all of them see it.
    """
    with tempfile.TemporaryDirectory(prefix="ssgan-bench-") as own:
        flag = Flag(own) if shared is None else Flag(shared, f".stop/{uuid.uuid4().hex}")
        asked: float | None = None
        killed = False

        def on_signal(number: int, frame: FrameType | None) -> None:
            nonlocal asked, killed
            if asked is not None:
                if time.monotonic() - asked < SAME:
                    return
                killed = True
                raise KeyboardInterrupt
            asked = time.monotonic()
            flag.raise_()
            say("\nStopping: every cohort finishes its step and saves a checkpoint (once more to stop at once)")

        try:
            with handling({signal.SIGINT: on_signal, signal.SIGTERM: on_signal}):
                yield Orders(flag, deadline, None if shared else os.getpid())
        finally:
            if asked is not None and not killed:  # workers of a call that was killed may look later
                flag.lower()


class Watch:
    """A worker's ear: whether it has to stop. Call it after every step."""

    def __init__(self, orders: Orders) -> None:
        self.orders, self.signalled, self.looked, self.stop = orders, False, 0.0, False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self.stop and (self.signalled or now - self.looked >= self.orders.patience):
            self.looked = now
            self.stop = self.signalled or self.orders.given()
        return self.stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM, to a worker alone, makes it stop as well."""
        own_process = self.orders.parent not in (None, os.getpid())
        with handling({signal.SIGTERM: self._on_signal} if own_process else {}):
            yield


def ignore_signals() -> None:
    """For a worker that has nothing to do, or is told by its parent: Ctrl-C reaches all of a terminal's processes, and
    a worker that died of it would take the others, which are about to save, with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def handling(handlers: dict[Any, Any]) -> Iterator[None]:
    """With these signal handlers; the former ones afterwards. Only a main thread can set any: elsewhere, nothing."""
    before = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    except ValueError:
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
