"""`bench run` as processes that are really killed, raced and starved: what comes out is what would have come anyway."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from bench.store import Store

BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
GRID = ["--labels", "20,50", "--seeds", "2", "--save-weights", "--plugin", "deadly.py"]
STEPS = {"supervised": 400, "fm": 300, "triple": 150}
KILLS = 20

# A plug-in that can kill its worker (not the command) while a file is being written. `kills` holds one line per worker
# process: which call, and the how-manieth of it. Its variant is not in use: the results do not depend on it.
DEADLY = """
import os, pathlib, signal
from bench import registry
class Deadly(registry.get("supervised")):
    name = "deadly"
FOLDER = pathlib.Path(__file__).parent
def take():
    is_worker = "loky" in pathlib.Path("/proc/self/cmdline").read_text()
    lines = (FOLDER / "kills").read_text().splitlines() if is_worker and (FOLDER / "kills").exists() else []
    if lines:
        (FOLDER / "kills").write_text("\\n".join(lines[1:]))
        return lines[0].split()
if plan := take():
    name, left, original = plan[0], [int(plan[1])], getattr(os, plan[0])
    def deadly(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            if name == "fsync" and os.fstat(args[0]).st_size > 1:
                os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
            (FOLDER / "killed").open("a").write(f"{name}\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(os, name, deadly)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "deadly.py").write_text(DEADLY)
    return folder


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `bench run` in a process group of its own; whatever is left of it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(results: str, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, *BENCH, "run", "--results", results, *words], cwd=folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """The whole group: the command and its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def grid(variant: str) -> list[str]:
    return ["--variants", variant, "--steps", str(STEPS[variant]), *GRID]


def outcome(results: Path) -> dict[str, object]:
    """Content, losses and the very weights of all runs, by id."""
    store, found = Store(results), {}
    for record in store.records():
        assert record.curve is not None
        weights = load_file((store.folder.root / store.name(record.run)).parent / record.artefacts["weights"])
        tensors = {name: value.numpy().tobytes() for name, value in weights.items()}
        found[record.id] = (json.dumps([record.content(), record.curve.logs, record.status]), tensors)
    return found


@pytest.fixture
def reference(folder: Path, bench_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """What a variant's grid comes to in this process, uninterrupted."""

    def of(variant: str) -> dict[str, object]:
        monkeypatch.chdir(folder)
        results = folder / f"whole-{variant}"
        if not results.exists():
            assert bench_cli("run", "--results", str(results), *grid(variant)).code == 0
        found = outcome(results)
        assert len(found) == 4
        return found

    return of


def wait_for_checkpoint(results: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not list(results.glob(".checkpoints/*/*.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_and_started_again(start: Start, folder: Path, reference: Callable) -> None:
    """SIGKILL to the command and its workers; the next call goes on where they were."""
    expected, words = reference("supervised"), [*grid("supervised"), "--checkpoint-every", "0.2"]
    first = start("once", *words)
    wait_for_checkpoint(folder / "once", first)
    kill(first)
    second = start("once", *words)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert outcome(folder / "once") == expected
    assert any(record.provenance["resumed_at"] for record in Store(folder / "once").records())
    assert not list((folder / "once").glob(".checkpoints/*"))


@pytest.mark.slow
def test_terminated_in_other_cohorts_and_finished(start: Start, folder: Path, reference: Callable) -> None:
    """SIGTERM to the command, Ctrl-C to all of a terminal's processes: they save, and say how to go on; the next calls
    put the runs into other cohorts."""
    expected, words = reference("supervised"), [*grid("supervised"), "--checkpoint-every", "3600"]
    for cohort, number in (("4", signal.SIGTERM), ("1", signal.SIGINT), ("4", signal.SIGINT)):
        call = start("turns", *words, "--cohort", cohort, "--jobs", "2" if cohort == "1" else "1")
        seen = len(started(folder / "turns"))
        while len(started(folder / "turns")) == seen:
            time.sleep(0.05)
        time.sleep(1)
        call.send_signal(number) if number == signal.SIGTERM else os.killpg(call.pid, number)
        said, _ = call.communicate(timeout=120)
        assert call.returncode == 130, said
        assert "Interrupted: 4 of 4 runs are unfinished" in said
        assert f"bench run --results turns --variants supervised --steps {STEPS['supervised']}" in said
    last = start("turns", *words, "--cohort", "2")
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 0, said
    assert outcome(folder / "turns") == expected
    resumed = [len(record.provenance["resumed_at"]) for record in Store(folder / "turns").records()]
    assert min(resumed) >= 1  # with cohorts of their own, two processes begin only two of the four runs
    assert max(resumed) >= 2


def started(results: Path) -> list[dict]:
    names = [path.stem for path in results.glob(".progress/*.jsonl")]
    return [event for name in names for event in Store(results).journal(name).read()[0] if event["event"] == "started"]


@pytest.mark.slow
def test_two_calls_on_one_folder_share_the_work(start: Start, folder: Path, reference: Callable) -> None:
    """No run is trained twice, none is lost, and both calls end with the whole table."""
    expected, words = reference("supervised"), [*grid("supervised"), "--jobs", "1"]
    calls = [start("race", *words, "--cohort", size) for size in ("1", "3")]
    said = [call.communicate(timeout=300)[0] for call in calls]
    assert [call.returncode for call in calls] == [0, 0], said
    assert all("n = 2 runs per cell" in text for text in said)
    assert outcome(folder / "race") == expected
    assert sum(event["runs"] for event in started(folder / "race")) == 4


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fm", "triple"])
def test_killed_at_twenty_random_moments(variant: str, start: Start, folder: Path, reference: Callable) -> None:
    """The command and its workers, at any moment from their start; then again until it has happened twenty times."""
    expected, rng, kills, finished = reference(variant), random.Random(variant), 0, 0
    begin = time.monotonic()
    start("rehearsal", *grid(variant), "--checkpoint-every", "0.3").communicate()
    whole = time.monotonic() - begin
    shutil.rmtree(folder / "rehearsal")
    while kills < KILLS or finished == 0:
        cohort = str(rng.choice([1, 2, 3, 4]))
        process = start("random", *grid(variant), "--checkpoint-every", "0.3", "--cohort", cohort)
        try:
            process.communicate(timeout=rng.uniform(0.3, 1.0) * whole if kills < KILLS else 600)
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
            continue
        assert process.returncode == 0
        assert outcome(folder / "random") == expected
        finished += 1
        if kills < KILLS:
            shutil.rmtree(folder / "random")
    print(f"{variant}: {kills} kills, {finished} grids finished")
    shutil.rmtree(folder / "random")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("variant", ["fm", "triple"])
def test_killed_while_a_file_is_written(
    variant: str, call: str, start: Start, folder: Path, reference: Callable
) -> None:
    """Half of a file written, or all of it but not in place: of checkpoints, weights and records alike."""
    expected, results = reference(variant), f"torn-{variant}-{call}"
    moments = [1, 2, 3, 5, 8, 13, 21, 34]
    (folder / "killed").unlink(missing_ok=True)
    (folder / "kills").write_text("\n".join(f"{call} {moment}" for moment in moments))
    while (folder / "kills").read_text().strip():
        process = start(results, *grid(variant), "--checkpoint-every", "0.5", "--jobs", "1")
        process.communicate(timeout=600)
    process = start(results, *grid(variant))
    process.communicate(timeout=600)
    (folder / "kills").unlink()
    assert process.returncode == 0
    assert outcome(folder / results) == expected
    kills = len((folder / "killed").read_text().split())
    print(f"{variant}, {call}: {kills} kills")
    assert kills >= 4  # a worker that ends before its moment is not killed


PRIVATE_MOUNT = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def has_private_mounts() -> bool:
    """Whether this machine lets a user mount a small disk of his own."""
    if shutil.which("unshare") is None:
        return False
    test = [*PRIVATE_MOUNT, "mount -t tmpfs -o size=64k none /mnt"]
    return subprocess.run(test, capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not has_private_mounts(), reason="needs unshare and tmpfs, to fill a disk of its own")


@pytest.mark.slow
@needs_mounts
def test_a_full_disk_is_an_error_and_what_was_finished_is_intact(
    start: Start, folder: Path, reference: Callable
) -> None:
    """A disk of 1.5 MB takes some runs' weights (0.5 MB each) and not all; on a larger one the same command ends."""
    expected = reference("fm")
    (folder / "disk").mkdir()
    script = (
        "mount -t tmpfs -o size=1500k none disk && \"$@\"; code=$?; "
        "cp -r disk kept && df disk | tail -1; exit $code"
    )  # fmt: skip
    words = [*grid("fm"), "--jobs", "1", "--cohort", "1"]
    full = start("disk/runs", *words, prefix=(*PRIVATE_MOUNT, script, "sh"))
    said, _ = full.communicate(timeout=300)
    assert full.returncode == 2, said
    assert "Traceback" not in said
    assert "error: results folder 'disk/runs': No space left on device. What had finished before is stored" in said
    finished = outcome(folder / "kept" / "runs")
    assert 1 <= len(finished) < 4
    assert finished.items() <= expected.items()
    rest = start("kept/runs", *words)
    assert rest.communicate(timeout=300)[0].count("of them already stored") == 1
    assert rest.returncode == 0
    assert outcome(folder / "kept" / "runs") == expected


@needs_mounts
def test_a_read_only_folder_is_refused_before_anything_is_trained(start: Start, folder: Path) -> None:
    (folder / "fixed").mkdir()
    script = 'mount -t tmpfs none fixed && mount -o remount,ro fixed && "$@"'
    refused = start("fixed/runs", *grid("supervised"), prefix=(*PRIVATE_MOUNT, script, "sh"))
    said, _ = refused.communicate(timeout=100)
    assert refused.returncode == 2
    assert said.startswith("error: --results: cannot write to 'fixed/runs': Read-only file system")
