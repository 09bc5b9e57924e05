"""The results store: what is written is read again, whole or not at all, and what is odd is refused by name."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.errors import UsageError
from bench.grid.run import Run
from bench.store import ConflictError, Curve, Record, SplitFacts, Store

ID = "00c0ffee00000001"


def make_run(id: str = ID, **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": id,
        "variant": "fm",
        "version": 1,
        "dataset": "digits",
        "dataset_hash": "d" * 64,
        "protocol": "common",
        "recipe": {"steps": 200, "lr": 1e-3, "evaluate_with": "ema", "betas": [0.5, 0.999]},
        "overrides": {},
        "budget": 20,
        "selection": "balanced",
        "seed": 0,
        "steps": 200,
    }
    return Run(**fields | changes)


def make_curve(**changes: Any) -> Curve:
    fields: dict[str, Any] = {
        "steps": [100, 200],
        "seconds": [0.1, 1 / 3],
        "raw": [120, 100],
        "ema": [130, 90],
        "logs": {"discriminator.loss": [0.5, 1e-7]},
    }
    return Curve(**fields | changes)


def make_record(run: Run | None = None, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "run": run or make_run(),
        "status": "done",
        "split": SplitFacts(labelled_hash="ab" * 32, labelled=20, labels_touched=20, validation=0, unlabelled=1277),
        "test_images": 500,
        "curve": make_curve(),
        "provenance": {"device": "cpu", "packages": {"torch": "2.0"}},
    }
    return Record(**fields | changes)


def failed(**changes: Any) -> Record:
    return make_record(status="failed", reason="out of memory", curve=None, split=None, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    record = make_record()
    store.write(record)
    assert list(store.records()) == [record]
    assert store.get(ID) == record
    assert (store.folder.root / "digits" / "fm" / f"{ID}.json").is_file()


def test_json_is_strict_one_line_per_list_of_numbers_and_in_one_order() -> None:
    logs = {"loss": [math.nan, math.inf], "a": [-math.inf, 2.5]}
    text = make_record(curve=make_curve(logs=logs), provenance={"b": 1, "a": math.nan}).to_json()
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the file"))
    assert plain["schema"] == 1
    assert plain["curve"]["logs"] == {"a": [None, 2.5], "loss": [None, None]}
    assert plain["provenance"] == {"a": None, "b": 1}
    lines = text.splitlines()
    assert '  "raw": [120, 100],' in lines
    assert '   "loss": [null, null]' in lines
    assert list(plain["run"]) == sorted(plain["run"])
    assert text.endswith("}\n")
    assert (
        text
        == make_record(curve=make_curve(logs=dict(reversed(logs.items()))), provenance={"a": None, "b": 1}).to_json()
    )


def test_strings_that_look_like_lists_survive(store: Store) -> None:
    odd = {"text": "[\n 1,\n 2\n]", "[ ": "[ 3 ]", "words": ["[", "1", "]"], "empty": [], "nested": [[1, 2], [3.5]]}
    store.write(make_record(provenance=odd))
    assert store.get(ID).provenance == odd


@pytest.mark.parametrize(
    ("wanted", "ema", "used"), [("ema", [1, 2], "ema"), ("ema", None, "raw"), ("raw", [1, 2], "raw")]
)
def test_accuracy_is_of_the_weights_that_the_recipe_names(wanted: str, ema: list[int] | None, used: str) -> None:
    record = make_record(make_run(recipe={"evaluate_with": wanted}), curve=make_curve(ema=ema))
    assert record.accuracy_of == used


@pytest.mark.parametrize(
    "wrong",
    [
        {"curve": None},
        {"curve": Curve(steps=[], seconds=[], raw=[])},
        {"test_images": 0},
        {"status": "diverged"},
        {"status": "pending"},
    ],
)
def test_a_record_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_record(**wrong)


@pytest.mark.parametrize("wrong", [{"raw": [1]}, {"ema": [1, 2, 3]}, {"logs": {"loss": [1.0]}}, {"raw": [-1, 0]}])
def test_a_curve_has_one_number_per_evaluation(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_curve(**wrong)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_same_result_again_keeps_the_first(store: Store) -> None:
    store.write(make_record())
    before = (store.folder.root / store.name(make_run())).read_bytes()
    store.write(make_record(provenance={"device": "another"}, curve=make_curve(seconds=[7.0, 8.0])))
    assert (store.folder.root / store.name(make_run())).read_bytes() == before


def test_another_result_of_the_same_run_is_a_conflict_that_names_the_difference(store: Store) -> None:
    store.write(make_record())
    with pytest.raises(ConflictError) as error:
        store.write(make_record(curve=make_curve(ema=[130, 91])))
    message = str(error.value)
    assert "curve.ema[1]: 90 stored, 91 new" in message
    assert f"{ID}.json" in message
    assert len(message) < 1500
    assert store.get(ID) == make_record()


def test_a_conflict_of_very_long_contents_stays_short(store: Store) -> None:
    store.write(make_record(make_run(recipe={f"f{i}": "x" * 500 for i in range(50)})))
    with pytest.raises(ConflictError) as error:
        store.write(make_record(make_run(recipe={f"f{i}": "y" * 500 for i in range(50)})))
    assert len(str(error.value)) < 1500


def test_a_failed_run_is_replaced_and_nothing_else_is(store: Store) -> None:
    store.write(failed())
    store.write(failed(test_images=256))
    assert store.get(ID).test_images == 256
    store.write(make_record())
    assert store.get(ID).status == "done"
    with pytest.raises(ConflictError, match="status: done stored, failed new"):
        store.write(failed())
    assert store.get(ID).status == "done"


def test_a_run_is_had_when_done_or_diverged(store: Store) -> None:
    assert not store.has(make_run())
    store.write(failed())
    assert not store.has(make_run())
    store.write(make_record(status="diverged", diverged_at=3, curve=None))
    assert store.has(make_run())
    assert not store.has(make_run("00c0ffee00000002"))
    store.write(make_record(make_run("00c0ffee00000002")))
    assert store.has(make_run("00c0ffee00000002"))


def test_a_crash_before_the_replacement_leaves_the_old_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def crash(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent
        written.append(Path(source).read_text())
        raise KeyboardInterrupt

    store.write(failed())
    before = (store.folder.root / store.name(make_run())).read_bytes()
    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(make_record())
    assert Record.model_validate_json(written[0]) == make_record()  # the whole text was there beforehand
    assert (store.folder.root / store.name(make_run())).read_bytes() == before
    assert all_files(store.folder.root) == [(store.folder.root / store.name(make_run()))]


def test_the_leavings_of_a_killed_writer_are_no_record(store: Store) -> None:
    store.write(make_record())
    ((store.folder.root / store.name(make_run())).parent / f".{ID}.0123.tmp").write_text('{"schema": 1, "ru')
    assert len(list(store.records())) == 1


@pytest.mark.parametrize("name", ["npz:/data/../x y.npz", "..", "a/b\\c", ".hidden", "ä" * 300, "*"])
def test_any_name_of_dataset_or_variant_gets_a_folder_inside(store: Store, name: str) -> None:
    run = make_run(dataset=name, variant=name)
    store.write(make_record(run))
    assert store.get(ID).run == run
    inside = (store.folder.root / store.name(run)).relative_to(store.folder.root)
    assert len(inside.parts) == 3
    assert not any(part.startswith(".") for part in inside.parts)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_runs_are_found_by_the_beginning_of_their_id(store: Store) -> None:
    ids = ["00c0ffee00000001", "00c0ffee00000002", "1111111111111111"]
    for id in ids:
        store.write(make_record(make_run(id)))
    assert store.get("1").id == ids[2]
    assert store.get("00c0ffee00000002").id == ids[1]
    with pytest.raises(UsageError, match=r"2 runs.*00c0ffee00000001.*00c0ffee00000002"):
        store.get("00c0")
    with pytest.raises(UsageError, match=r"(?s)unknown run '1111111111111112'.*1111111111111111"):
        store.get("1111111111111112")
    for odd in ["", "*", "../fm/1111", "x" * 5000]:
        with pytest.raises(UsageError) as error:
            store.get(odd)
        assert len(str(error.value)) < 1500


def test_records_come_in_one_order(store: Store) -> None:
    for id in ["c" * 16, "a" * 16, "b" * 16]:
        store.write(make_record(make_run(id)))
    assert [record.id[0] for record in store.records()] == ["a", "b", "c"]


def test_a_store_reads_no_other_store_inside_it_and_no_hidden_folder(store: Store) -> None:
    store.write(make_record())
    Store(store.folder.root / "reference").write(make_record(make_run("f" * 16)))
    for hidden in (".old/fm/x.json", "digits/.old/x.json", f"digits/fm/._{ID}.json"):
        (store.folder.root / hidden).parent.mkdir(parents=True, exist_ok=True)
        (store.folder.root / hidden).write_text("rubbish")
    store.journal("cohort").append({"step": 1})
    with store.folder.hold(ID):
        assert [record.id for record in store.records()] == [ID]
    assert [record.id for record in Store(store.folder.root / "reference").records()] == ["f" * 16]


def test_no_folder_no_records(store: Store) -> None:
    with pytest.raises(UsageError, match="no results folder"):
        store.records()
    with pytest.raises(UsageError, match="no results folder"):
        store.get("ab")
    assert not store.folder.root.exists()


def with_schema(version: Any) -> str:
    return json.dumps(json.loads(make_record().to_json()) | {"schema": version})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (make_record().to_json().encode()[:-100], "not valid JSON"),
        (make_record().to_json().replace("0.001", "NaN").encode(), "NaN is no JSON number"),
        (b"\xff\xfe\x00\x01", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "not the record"),
        (b'{"a": 1}', "not the record"),
        (make_record().to_json().replace('"done"', '"perhaps"').encode(), "status"),
        (with_schema(2).encode(), r"newer format 2.*Upgrade"),
        (make_record(make_run("e" * 16)).to_json().encode(), "holds run eeee"),
        (make_record(make_run(dataset="mnist")).to_json().encode(), "place is mnist"),
    ],
)
def test_an_odd_file_is_named(store: Store, content: bytes, message: str) -> None:
    path = store.folder.root / store.name(make_run())
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for read in (lambda: list(store.records()), lambda: store.get(ID), lambda: store.has(make_run())):
        with pytest.raises(UsageError, match=rf"(?s){ID}\.json.*{message}") as error:
            read()
        assert len(str(error.value)) < 1500


def test_a_folder_in_a_file_s_place_is_named(store: Store) -> None:
    (store.folder.root / store.name(make_run())).mkdir(parents=True)
    with pytest.raises(UsageError, match=rf"{ID}\.json"):
        list(store.records())


def test_a_link_out_of_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    outside = Store(tmp_path / "outside")
    outside.write(make_record())
    (store.folder.root / store.name(make_run())).parent.mkdir(parents=True)
    (store.folder.root / store.name(make_run())).symlink_to(outside.folder.root / outside.name(make_run()))
    with pytest.raises(UsageError, match=rf"{ID}\.json.*leads out"):
        list(store.records())
    linked = Store(tmp_path / "linked")
    linked.folder.root.mkdir()
    (linked.folder.root / "digits").symlink_to(outside.folder.root / "digits")
    with pytest.raises(UsageError, match="leads out"):
        linked.records()


def test_a_store_may_itself_lie_behind_a_link(store: Store, tmp_path: Path) -> None:
    store.write(make_record())
    (tmp_path / "link").symlink_to(store.folder.root)
    assert list(Store(tmp_path / "link").records()) == list(store.records())


# --- locks and folders -----------------------------------------------------------------------------------------------


def test_a_run_is_locked_once(store: Store) -> None:
    lock = store.hold(make_run())
    assert lock is not None
    with lock:
        assert store.held(make_run())
        assert store.hold(make_run()) is None
        assert store.hold(make_run("b" * 16)) is not None
    assert not store.held(make_run())
    assert store.hold(make_run()) is not None


def test_a_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b" / "c").folder.writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "d").mkdir()
    Store(tmp_path / "d").folder.writable()
    assert list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize("below", ["file", "file/a/b", "new/" + "x" * 300, "new/a\0b", "dangling"])
def test_an_unwritable_folder_is_named_and_nothing_is_made(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(UsageError, match="--results") as error:
        Store(tmp_path / below).folder.writable()
    assert len(str(error.value)) < 1500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]
    assert (tmp_path / "file").read_text() == "mine"


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_is_read_from_where_one_left_off(store: Store) -> None:
    journal = store.journal("cohort 1")
    assert journal.read() == ([], 0)
    journal.append({"step": 1, "loss": math.nan})
    events, since = journal.read()
    assert events == [{"step": 1, "loss": None}]
    journal.append({"step": 2})
    journal.append({"step": 3})
    events, since = journal.read(since)
    assert events == [{"step": 2}, {"step": 3}]
    assert journal.read(since) == ([], since)


def written(store: Store, content: bytes) -> Path:
    path = store.folder.root / ".progress" / "cohort.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_half_written_line_is_waited_for(store: Store) -> None:
    path, journal = written(store, b'{"step": 1}\n{"st'), store.journal("cohort")
    events, since = journal.read()
    assert (events, since) == ([{"step": 1}], 12)
    with path.open("ab") as file:
        file.write(b'ep": 2}\n')
    assert journal.read(since) == ([{"step": 2}], 24)


def test_a_line_that_a_killed_writer_left_is_skipped(store: Store) -> None:
    path, journal = written(store, b'{"step": 1}\n{"st'), store.journal("cohort")
    journal.append({"step": 2})
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n17\n\n{"step": 3}\n')
    assert journal.read()[0] == [{"step": 1}, {"step": 2}, {"step": 3}]
