"""Checkpoints: the newest intact one is found, a spoilt or forged one is passed over in words and runs no code."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import UsageError
from bench.grid.run import Run
from bench.store import Store

MADE_BY = {"code": "abc", "torch": "2.9", "device": "cpu"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs")
    store.folder.make()
    return store


@pytest.fixture
def run() -> Run:
    return make_run("00c0ffee00000001")


def make_run(run_id: str) -> Run:
    return Run(
        id=run_id, variant="fm", version=1, dataset="digits", dataset_hash="d" * 64, protocol="common", recipe={},
        overrides={}, budget=20, selection="balanced", seed=0, steps=200,
    )  # fmt: skip


def save(store: Store, run: Run, *steps: int) -> None:
    for step in steps:
        state = {"at": step, "weights": torch.full((3,), float(step)), "nested": [{"none": None, "text": "x"}]}
        store.checkpoints.save(run, step, state, (run.id,), MADE_BY)


def path(store: Store, run: Run, step: int) -> Path:
    return store.folder.root / ".checkpoints" / run.id / f"{step:010d}.ckpt"


def loaded(store: Store, run: Run) -> tuple[int | None, str]:
    found, notes = store.checkpoints.load(run, MADE_BY)
    return found.state["at"] if found else None, " ".join(notes)


def test_the_newest_is_found_and_the_one_before_it_is_kept(store: Store, run: Run) -> None:
    assert loaded(store, run) == (None, "")
    save(store, run, 10, 20, 30)
    assert loaded(store, run) == (30, "")
    assert store.checkpoints.steps(run.id) == [30, 20]
    found, _ = store.checkpoints.load(run, MADE_BY)
    assert found is not None
    assert found.state["weights"].tolist() == [30, 30, 30]
    assert found.state["nested"] == [{"none": None, "text": "x"}]
    assert (found.head.run, found.head.step, found.head.cohort) == (run, 30, (run.id,))


def truncated(content: bytes) -> bytes:
    return content[:-7]


def flipped(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize(
    "spoil",
    [truncated, flipped, lambda c: b"", lambda c: c.partition(b"\n")[0], lambda c: b"\0" * len(c), lambda c: b"{}\nxx"],
)
def test_a_spoilt_newest_falls_back_to_the_previous_and_says_so(
    spoil: Callable[[bytes], bytes], store: Store, run: Run
) -> None:
    save(store, run, 10, 20)
    newest = path(store, run, 20)
    newest.write_bytes(spoil(newest.read_bytes()))
    step, notes = loaded(store, run)
    assert step == 10
    assert f"{run.id}: checkpoint 0000000020.ckpt is damaged" in notes
    assert notes.endswith("goes on from step 10")
    path(store, run, 10).write_bytes(spoil(path(store, run, 10).read_bytes()))
    step, notes = loaded(store, run)
    assert step is None
    assert notes.count("is damaged") == 2
    assert notes.count("starts from step 0") == 2


def test_what_a_killed_writer_leaves_is_no_checkpoint_and_is_cleared_away(store: Store, run: Run) -> None:
    save(store, run, 10)
    left = path(store, run, 10).with_name(".0000000020.0123.tmp")
    left.write_bytes(b"half")
    assert loaded(store, run) == (10, "")
    save(store, run, 20)
    assert not left.exists()
    assert store.checkpoints.steps(run.id) == [20, 10]


def test_other_code_is_not_gone_on_from(store: Store, run: Run) -> None:
    save(store, run, 10)
    found, notes = store.checkpoints.load(run, MADE_BY | {"code": "changed", "device": "cuda"})
    assert found is None
    assert "code abc, now changed; device cpu, now cuda" in notes[0]
    assert "starts from step 0" in notes[0]


def test_what_was_passed_over_makes_room_for_the_run_that_began_again(store: Store, run: Run) -> None:
    """Higher steps of other code, or damaged ones, must not crowd out what is saved now."""
    save(store, run, 5000, 6000)
    other = MADE_BY | {"code": "changed"}
    for step in (10, 20, 30):
        store.checkpoints.save(run, step, {"at": step}, (run.id,), other)
        found, notes = store.checkpoints.load(run, other)
        assert found is not None
        assert (found.head.step, notes) == (step, [])
    assert store.checkpoints.steps(run.id) == [30, 20]


def test_a_newer_format_is_refused(store: Store, run: Run) -> None:
    save(store, run, 10)
    first, _, rest = path(store, run, 10).read_bytes().partition(b"\n")
    head = json.loads(first) | {"schema_version": 2, "something": "new"}
    path(store, run, 10).write_bytes(json.dumps(head).encode() + b"\n" + rest)
    with pytest.raises(UsageError, match=r"newer format 2.*Upgrade"):
        loaded(store, run)


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def forge(store: Store, run: Run, content: Any, **head: Any) -> None:
    """A checkpoint with valid sums and any content."""
    import hashlib

    blob = io.BytesIO()
    torch.save(content, blob)
    save(store, run, 10)
    first = json.loads(path(store, run, 10).read_bytes().partition(b"\n")[0])
    sums = {"size": len(blob.getvalue()), "sha256": hashlib.sha256(blob.getvalue()).hexdigest()}
    path(store, run, 10).write_bytes(json.dumps(first | sums | head).encode() + b"\n" + blob.getvalue())


def test_a_forged_checkpoint_runs_no_code(store: Store, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    forge(store, run, {"at": 10, "weights": Evil(target)})
    step, notes = loaded(store, run)
    assert step is None
    assert "cannot be loaded" in notes
    assert not target.exists()
    blob = io.BytesIO()
    torch.save(Evil(target), blob)
    torch.load(io.BytesIO(blob.getvalue()), weights_only=False)  # what the file would have done
    assert target.exists()


@pytest.mark.parametrize("content", [[1, 2], {"at": 11}, {}])
def test_a_state_of_another_step_is_passed_over(content: Any, store: Store, run: Run) -> None:
    forge(store, run, content)
    assert "does not hold the state of its step" in loaded(store, run)[1]


def test_a_checkpoint_of_another_run_is_passed_over(store: Store, run: Run) -> None:
    other = make_run("00c0ffee00000002")
    save(store, other, 10)
    path(store, run, 10).parent.mkdir()
    path(store, run, 10).write_bytes(path(store, other, 10).read_bytes())
    assert "of another run or step" in loaded(store, run)[1]
    assert [head.run.id for head in store.checkpoints.heads()] == [other.id]


def test_links_lead_nowhere(store: Store, run: Run, tmp_path: Path) -> None:
    outside = Store(tmp_path / "outside")
    outside.folder.make()
    save(outside, run, 10)
    (store.folder.root / ".checkpoints").symlink_to(outside.folder.root / ".checkpoints")
    for act in (lambda: loaded(store, run), lambda: save(store, run, 20), lambda: store.checkpoints.delete(run.id)):
        with pytest.raises(UsageError, match="is a link"):
            act()
    assert outside.checkpoints.steps(run.id) == [10]
    (store.folder.root / ".checkpoints").unlink()
    path(store, run, 10).parent.mkdir(parents=True)
    path(store, run, 10).symlink_to(path(outside, run, 10))
    with pytest.raises(UsageError, match="is a link"):
        loaded(store, run)


def test_heads_tell_what_is_in_training(store: Store, run: Run) -> None:
    other = make_run("00c0ffee00000002")
    save(store, run, 10, 20)
    save(store, other, 5)
    newest = path(store, run, 20)
    newest.write_bytes(b"rubbish")
    (store.folder.root / ".checkpoints" / "note.txt").write_text("a stray file")
    assert [(head.run.id, head.step) for head in store.checkpoints.heads()] == [(run.id, 10), (other.id, 5)]
    store.checkpoints.delete(run.id)
    assert [head.run.id for head in store.checkpoints.heads()] == [other.id]
    store.checkpoints.delete(run.id)  # there is none any more


def test_a_crash_in_the_middle_of_saving_keeps_what_was_there(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    save(store, run, 10)
    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, crash)
            with pytest.raises(KeyboardInterrupt):
                save(store, run, 20)
        assert loaded(store, run) == (10, "")
