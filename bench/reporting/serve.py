"""The page while a grid is running: read only, for this machine only, made anew when runs have been stored.

A thread of its own makes the page, so no request waits for that. The page asks for `/state` and loads itself anew when
the fingerprint there is not its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.errors import UsageError, printable
from bench.grid.stale import is_stale
from bench.reporting.material import Material, gather
from bench.reporting.page import Picture, build, stamp
from bench.store import Store
from bench.store.files import RUNS

ADDRESS = "127.0.0.1"
TICK = 1.0  # seconds between two looks at the folder
SHARE = 0.2  # of one core, at most, goes into making pages
SILENCE = 120.0  # seconds without a word after which a cohort is taken for dead
TITLE = "Runs of semi-supervised GANs"

Pictures = Callable[[Material], Sequence[Picture]]


def serve(store: Store, port: int, pictures: Pictures) -> None:
    """Shows the page until it is interrupted.

    Raises:
        UsageError: the folder holds no readable results, or the port cannot be had.
    """
    watcher = Watcher(store, pictures)
    with listen(watcher, port) as server:
        threading.Thread(target=watcher.watch, daemon=True).start()
        print(
            f"http://{ADDRESS}:{server.server_port}/ shows {printable(store.folder.shown)}; Ctrl-C ends it", flush=True
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped; nothing was changed in the results folder")


# --- the page --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What is shown at one moment; replaced as a whole."""

    page: bytes
    state: Mapping[str, Any]  # for `/state`


class Watcher:
    """Looks at a results folder again and again, and keeps the page of it.

    Raises:
        UsageError: there is no such folder, or one of its files is no readable record.
    """

    def __init__(self, store: Store, pictures: Pictures) -> None:
        self.store, self.draw = store, pictures
        self.drawn: Sequence[Picture] = ()
        self.shown = Shown(b"", {"running": [], "problem": ""})
        self.seen, self.pictured = self._stored(), ""
        self._read()
        self._make()

    def watch(self) -> None:
        """For ever; after a page that took long to make the next one waits, so that training keeps the processor."""
        while True:
            began = time.monotonic()
            self.look()
            took = time.monotonic() - began
            time.sleep(max(TICK, took / SHARE - took))

    def look(self) -> None:
        """Once: who is training; a new page if runs were stored; then their figures, which take longer."""
        try:
            self._tell(running=running_cohorts(self.store))
            stored = self._stored()
            if stored != self.seen:
                self._read()
                self._make()
                self.seen = stored
            if stored != self.pictured:
                self.drawn = self.draw(self.material)
                self._make()
                self.pictured = stored
            self._tell(problem="")
        except Exception as error:  # whatever a broken file or a figure may raise: the last page stays, and says so
            self._tell(problem=f"This page is not up to date: {printable(str(error))}")

    def _stored(self) -> str:
        """Changes whenever a run's file does."""
        return hashlib.sha256(repr(self.store.folder.stamps(RUNS)).encode()).hexdigest()

    def _read(self) -> None:
        records = list(self.store.records())
        fresh = [record for record in records if not is_stale(record.run)]
        self.material, self.stale = gather(self.store, fresh), len(records) - len(fresh)

    def _make(self) -> None:
        page, fingerprint = stamp(build(self.material, self.drawn, (), TITLE, live=True))
        counts = {"finished": len(self.material.records), "stale": self.stale}
        self.shown = Shown(page.encode(), {**self.shown.state, "fingerprint": fingerprint, **counts})

    def _tell(self, **news: Any) -> None:
        self.shown = replace(self.shown, state={**self.shown.state, **news})


def running_cohorts(store: Store) -> list[dict[str, Any]]:
    """Cohorts that have lately said how far they are: `name`, and how many `runs`, `step`, `steps`."""
    found = []
    for file in store.folder.stamps(".progress/*.jsonl"):
        name = file.split("/")[1].removesuffix(".jsonl")
        if time.time() - store.folder.modified(file) > SILENCE:
            continue
        events = [event for event in store.journal(name).read()[0] if event.get("event") != "warning"]
        begun = [index for index, event in enumerate(events) if event.get("event") == "started"]
        if begun and events[-1].get("event") in ("started", "step"):
            latest = {"step": 0, **events[begun[-1]], **events[-1]}
            found.append(
                {"name": printable(name)} | {key: _count(latest.get(key)) for key in ("runs", "step", "steps")}
            )
    return found


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


# --- requests --------------------------------------------------------------------------------------------------------


def listen(watcher: Watcher, port: int) -> ThreadingHTTPServer:
    """A server that answers GET and HEAD with what the watcher shows; port 0: any free one.

    Raises:
        UsageError: the port cannot be had.
    """
    if not 0 <= port < 2**16:
        raise UsageError(f"--port {port}: allowed are 0 (any free port) to 65535.")

    class Handler(Page):
        shows = watcher

    try:
        return ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise UsageError(
            f"--port {port} cannot be had: {error.strerror}. Name another; 0 takes any free one."
        ) from error


class Page(BaseHTTPRequestHandler):
    """Two paths, nothing else; and only for a browser that asks for this machine by its own name."""

    shows: Watcher
    server: ThreadingHTTPServer
    server_version, sys_version = "bench", ""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a page that loads itself anew hangs up
            super().handle()

    def do_GET(self) -> None:
        shown = self.shows.shown
        if not self._is_local():
            # a foreign site may let its own name point to this machine, and would then read the page as its own
            self._answer(403, b"Ask for 127.0.0.1 or localhost.\n")
        elif self.path.partition("?")[0] == "/":
            self._answer(200, shown.page, "text/html; charset=utf-8")
        elif self.path.partition("?")[0] == "/state":
            self._answer(200, json.dumps(dict(shown.state)).encode(), "application/json")
        else:
            self._answer(404, b"There are / and /state.\n")

    do_HEAD = do_GET

    def _is_local(self) -> bool:
        port = self.server.server_port
        names = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        return self.headers.get("Host", "") in names | ({ADDRESS, "localhost"} if port == 80 else set())

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page that asks every two seconds would fill the terminal."""
