"""Results at an address: the same store, without locks, links and growing files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
import torch

from bench.errors import UsageError
from bench.grid import Run
from bench.store import ConflictError, Curve, Record, StorageError, Store, is_remote

ID = "00c0ffee00000001"


def make_run(run_id: str = ID, **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": run_id, "variant": "fm", "version": 1, "dataset": "digits", "dataset_hash": "d" * 64,
        "protocol": "common", "recipe": {}, "overrides": {}, "budget": 20, "selection": "balanced", "seed": 0,
        "steps": 200,
    }  # fmt: skip
    return Run(**fields | changes)


def make_record(run: Run | None = None, **changes: Any) -> Record:
    curve = Curve(steps=[100, 200], seconds=[0.1, 0.2], raw=[120, 100])
    return Record(**{"run": run or make_run(), "status": "done", "test_images": 500, "curve": curve} | changes)


@pytest.fixture
def store() -> Iterator[Store]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield Store("memory://bucket/runs")
    files.store.clear()


def stored() -> list[str]:
    return sorted(fsspec.filesystem("memory").store)


@pytest.mark.parametrize(
    ("root", "remote"),
    [("s3://bucket/runs", True), ("memory://x", True), ("runs", False), ("/a/b", False), ("file:///a/b", False),
     ("C:/runs", False), ("a:b", False)],
)  # fmt: skip
def test_addresses_and_paths(root: str, remote: bool) -> None:
    assert is_remote(root) == remote


def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    record = make_record()
    store.write(record)
    assert stored() == [f"/bucket/runs/digits/fm/{ID}.json"]
    assert list(store.records()) == [store.get(ID[:4])] == [store.record(make_run())] == [record]
    store.write(make_record(provenance={"device": "another"}))
    assert store.get(ID) == record
    with pytest.raises(ConflictError, match=r"memory://bucket/runs/digits/fm/.*test_images"):
        store.write(make_record(test_images=499))


def test_standings_change_with_the_records(store: Store) -> None:
    runs = [make_run(c * 16) for c in "abc"]
    assert not any(standing.settled for standing in store.standings(runs).values())
    store.write(make_record(runs[0]))
    store.write(make_record(runs[1], status="failed", reason="no luck", curve=None))
    before = store.standings(runs)
    assert [before[run.id].status for run in runs] == ["done", "failed", None]
    store.write(make_record(runs[1]))
    assert [store.standings(runs)[run.id].settled for run in runs] == [True, True, False]
    renamed = [run.model_copy(update={"dataset": "other name"}) for run in runs]
    assert [store.has(run) for run in renamed] == [True, True, False]  # the same data by another name


def test_hidden_and_deeper_files_are_no_records(store: Store) -> None:
    store.write(make_record())
    for name in (".old/fm/x.json", "digits/.old/x.json", "digits/fm/.x.json", "digits/fm/deeper/x.json"):
        fsspec.filesystem("memory").pipe_file(f"/bucket/runs/{name}", b"rubbish")
    assert [record.id for record in store.records()] == [ID]


def test_odd_files_are_named(store: Store) -> None:
    fsspec.filesystem("memory").pipe_file(f"/bucket/runs/digits/fm/{ID}.json", b"rubbish")
    with pytest.raises(UsageError, match=rf"memory://bucket/runs/digits/fm/{ID}\.json is not valid JSON"):
        list(store.records())
    with pytest.raises(UsageError, match="no results folder 'memory://elsewhere'"):
        Store("memory://elsewhere").records()


def test_a_journal_keeps_all_but_superseded_steps(store: Store) -> None:
    written, read = store.journal("cohort 1"), store.journal("cohort 1")
    assert read.read() == ([], 0)
    written.append({"event": "started"})
    events, since = read.read()
    assert [event["event"] for event in events] == ["started"]
    for step in (1, 2, 3):
        written.append({"event": "step", "step": step})
    events, since = read.read(since)
    assert [event["step"] for event in events] == [3]
    assert read.read(since) == ([], since)
    store.journal("cohort 1").append({"event": "finished"})  # by a worker that took over
    assert [event["event"] for event in read.read(since)[0]] == ["finished"]
    assert [event["event"] for event in read.read()[0]] == ["started", "step", "finished"]


def test_checkpoints_are_kept_read_and_deleted(store: Store) -> None:
    run, made_by = make_run(), {"code": "abc"}
    for step in (1, 2, 3):
        store.checkpoints.save(run, step, {"at": step, "weights": torch.full((3,), float(step))}, (run.id,), made_by)
    assert store.checkpoints.steps(run.id) == [3, 2]
    assert [head.step for head in store.checkpoints.heads()] == [3]
    newest = f"/bucket/runs/.checkpoints/{run.id}/0000000003.ckpt"
    content = fsspec.filesystem("memory").cat_file(newest)
    fsspec.filesystem("memory").pipe_file(newest, content[:-1])
    found, notes = store.checkpoints.load(run, made_by)
    assert found is not None
    assert found.state["weights"].tolist() == [2.0] * 3
    assert "damaged" in notes[0]
    store.checkpoints.delete(run.id)
    store.checkpoints.delete(run.id)
    assert stored() == []


def test_nobody_is_locked_out(store: Store) -> None:
    lock = store.hold(make_run())
    assert lock is not None
    with lock:
        assert not store.held(make_run())
    assert stored() == []


def test_a_store_that_cannot_be_written_to_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusal(Exception):
        """Of a client that has errors of its own."""

    def refuse(*args: object, **options: object) -> None:
        raise Refusal("access\x1b denied")

    store.folder.writable()
    assert stored() == []
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    with pytest.raises(UsageError, match=r"--results: cannot write to 'memory://bucket/runs': .*access\\x1b denied"):
        store.folder.writable()
    with pytest.raises(StorageError, match="What had finished before is stored"), store.folder.storing():
        store.write(make_record())


def test_a_store_that_does_not_answer_is_no_crash(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*args: object, **options: object) -> None:
        raise ConnectionRefusedError("no route")

    store.write(make_record())
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", silent)
    with pytest.raises(UsageError, match="memory://bucket/runs: ConnectionRefusedError: no route"):
        store.standings([make_run("a" * 16), make_run()])


def test_an_unknown_kind_of_address_is_a_mistake() -> None:
    with pytest.raises(UsageError, match=r"--results 'nosuch://x/y'.*ssgan-bench\[s3\]"):
        Store("nosuch://x/y")


def test_no_name_leads_out(store: Store) -> None:
    for name in ("../x", "a/../../x", "/x", "a//b", ""):
        with pytest.raises(ValueError, match="names no file"):
            store.folder.write(name, b"")
    assert stored() == []


def test_records_are_plain_json(store: Store) -> None:
    store.write(make_record())
    (name,) = stored()
    assert json.loads(fsspec.filesystem("memory").cat_file(name))["run"]["id"] == ID
