"""What a client of `bench serve` gets, and what stays untouched."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.reporting.page import Picture
from bench.reporting.serve import SILENCE, Watcher, listen, running_cohorts
from bench.store import Record, Store

Make = Callable[..., Record]
PICTURE = Picture("One figure", "", "", b"<svg/>", "svg")


@pytest.fixture
def store(tmp_path: Path, make: Make) -> Store:
    store = Store(tmp_path / "results")
    store.folder.make()
    store.write(make("mine", 20, 0, 50))
    return store


@pytest.fixture
def served(store: Store) -> Iterator[tuple[Watcher, int]]:
    watcher = Watcher(store, lambda material: [PICTURE])
    server = listen(watcher, 0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield watcher, server.server_port
    server.shutdown()
    server.server_close()


def ask(port: int, path: str = "/", method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def state(port: int) -> dict[str, Any]:
    return json.loads(ask(port, "/state")[1])


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its time and size."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")]}


def test_the_page_and_its_state(served: tuple[Watcher, int]) -> None:
    _, port = served
    status, page, headers = ask(port)
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    now = state(port)
    assert f'data-fingerprint="{now["fingerprint"]}"'.encode() in page
    assert b"mine" in page
    assert {key: now[key] for key in ("finished", "running", "problem")} == {
        "finished": 1, "running": [], "problem": "",
    }  # fmt: skip
    status, body, headers = ask(port, method="HEAD")
    assert (status, body, int(headers["Content-Length"])) == (200, b"", len(page))


def test_new_runs_make_a_new_page(served: tuple[Watcher, int], store: Store, make: Make) -> None:
    watcher, port = served
    watcher.look()
    first = state(port)["fingerprint"]
    watcher.look()
    assert state(port)["fingerprint"] == first
    assert b"One figure" in ask(port)[1]
    store.write(make("mine", 20, 1, 40))
    watcher.look()
    assert state(port)["fingerprint"] != first
    assert state(port)["finished"] == 2


def test_a_broken_file_leaves_the_last_page_and_says_so(served: tuple[Watcher, int], store: Store) -> None:
    watcher, port = served
    page = ask(port)[1]
    broken = store.folder.root / "digits" / "mine" / "broken.json"
    broken.write_text("{")
    watcher.look()
    assert "broken.json" in state(port)["problem"]
    assert ask(port)[1] == page
    broken.unlink()
    watcher.look()
    assert state(port)["problem"] == ""


def test_who_is_training(store: Store) -> None:
    def say(name: str, *events: dict[str, Any]) -> Path:
        for event in events:
            store.journal(name).append(event)
        return store.folder.root / ".progress" / f"{name}.jsonl"

    begun = {"event": "started", "runs": 3, "steps": 100}
    say(
        "now", {"event": "finished", "runs": 1}, begun, {"event": "step", "step": 40}, {"event": "warning", "text": "w"}
    )
    say("fresh", begun)
    say("over", begun, {"event": "step", "step": 100}, {"event": "finished", "runs": 3})
    say("stopped", begun, {"event": "stopped"})
    dead = say("dead", begun, {"event": "step", "step": 7})
    long_ago = time.time() - SILENCE - 5
    os.utime(dead, (long_ago, long_ago))
    assert running_cohorts(store) == [
        {"name": "fresh", "runs": 3, "step": 0, "steps": 100},
        {"name": "now", "runs": 3, "step": 40, "steps": 100},
    ]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:{port}", "127.0.0.1:1", "localhost"])
def test_a_foreign_name_for_this_machine_is_refused(served: tuple[Watcher, int], host: str) -> None:
    _, port = served
    assert ask(port, host=host.format(port=port))[0] == 403
    assert ask(port, "/state", host=host.format(port=port))[0] == 403
    assert ask(port, host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("PUT", "/state"), ("DELETE", "/"), ("OPTIONS", "/")])
def test_nothing_but_reading(served: tuple[Watcher, int], method: str, path: str) -> None:
    assert ask(served[1], path, method)[0] == 501
    assert ask(served[1], "/../../etc/passwd")[0] == 404


def test_it_listens_on_this_machine_only(store: Store) -> None:
    with listen(Watcher(store, lambda material: []), 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_the_results_folder_is_not_written_to(served: tuple[Watcher, int], store: Store) -> None:
    watcher, port = served
    before = snapshot(store.folder.root)
    for _ in range(2):
        watcher.look()
        ask(port)
        ask(port, "/state")
    assert snapshot(store.folder.root) == before


def test_a_port_that_is_taken_or_impossible(served: tuple[Watcher, int]) -> None:
    watcher, port = served
    with pytest.raises(UsageError, match=f"--port {port}"):
        listen(watcher, port)
    with pytest.raises(UsageError, match="65535"):
        listen(watcher, 70000)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results folder"):
        Watcher(Store(tmp_path / "none"), lambda material: [])
    assert not (tmp_path / "none").exists()
