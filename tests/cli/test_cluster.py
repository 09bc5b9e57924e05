"""`bench run --cluster` with a real scheduler and real workers, which share no folder: results lie in an S3 server.

Killed as they are, what comes out has the same bits as a run on this machine alone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.store import Store

pytest.importorskip("distributed", reason="needs the extra [distributed]")
pytest.importorskip("s3fs", reason="needs the extra [s3]")
pytest.importorskip("moto", reason="needs a local S3 server")

pytestmark = pytest.mark.slow
BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
DASK = [sys.executable, "-m", "dask"]
PATIENCE = 240  # seconds

PLUGIN = """
import variants.supervised
class Mine(variants.supervised.Supervised):
    name = "mine"
"""
GRID = ["--variants", "fm,mine", "--plugin", "mine.py", "--labels", "20,50", "--seeds", "2", "--cohort", "2"]
GRID += ["--steps", "400", "--checkpoint-every", "1", "--save-weights"]

Start = Callable[..., subprocess.Popen]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes in folders of their own; what is left of them is killed after the test."""
    begun: list[subprocess.Popen] = []

    def started(words: list[str], folder: str, **environment: str) -> subprocess.Popen:
        (tmp_path / folder).mkdir(exist_ok=True)
        with (tmp_path / folder / "said.txt").open("ab") as said:
            begun.append(
                subprocess.Popen(
                    words, cwd=tmp_path / folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment,
                )
            )  # fmt: skip
        return begun[-1]

    yield started
    for process in begun:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Kills a process and all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def bucket(start: Start, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of results in a fresh S3 server."""
    port = free_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    start([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], "s3")
    until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # of a server that is no more
    s3fs.S3FileSystem().mkdir("bench")
    return "s3://bench/runs"


class Cluster:
    """A scheduler and two workers, each in a folder of its own, without any data."""

    def __init__(self, start: Start) -> None:
        self.start, self.port = start, free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.up()

    def up(self) -> None:
        self.scheduler = self.start(
            [*DASK, "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"], "scheduler"
        )
        until(lambda: socket.create_connection(("127.0.0.1", self.port)).close() is None)
        self.workers = [self.worker(f"worker-{number}") for number in (1, 2)]

    def worker(self, name: str, **environment: str) -> subprocess.Popen:
        words = [*DASK, "worker", self.address, "--nthreads", "1", "--no-dashboard", "--local-directory", "."]
        return self.start(words, name, BENCH_DATA=f"data-of-{name}", **environment)

    def down(self) -> None:
        for process in (self.scheduler, *self.workers):
            stop(process)


@pytest.fixture
def cluster(start: Start, bucket: str) -> Cluster:
    """Started after the S3 server, whose address its workers find in their environment."""
    return Cluster(start)


def until(reached: Callable[[], Any]) -> None:
    """Waits for something that may fail until then."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if reached():
                return
        except (OSError, StopIteration):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.3)


def outcome(results: str) -> dict[str, Any]:
    """By run: all of its record that must not depend on how it was trained, its losses and its weights."""
    store, found = Store(results), {}
    for record in store.records():
        assert record.curve is not None
        found[record.id] = (record.content(), record.curve.logs, store.artefact(record, "weights"))
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the same grid, trained on this machine and left alone."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "mine.py").write_text(PLUGIN)
    subprocess.run([*BENCH, "run", *GRID, "--results", "runs"], cwd=folder, check=True, capture_output=True)
    return outcome(str(folder / "runs"))


@pytest.fixture
def run(start: Start, tmp_path: Path, bucket: str) -> Callable[..., subprocess.Popen]:
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "mine.py").write_text(PLUGIN)

    def begin(cluster: Cluster, *words: str) -> subprocess.Popen:
        return start([*BENCH, "run", *GRID, "--results", bucket, "--cluster", cluster.address, *words], "client")

    return begin


def said(tmp_path: Path) -> str:
    return (tmp_path / "client" / "said.txt").read_text()


def in_training(bucket: str) -> list[int]:
    """Process numbers of the workers whose cohorts have a checkpoint and are not finished."""
    store = Store(bucket)
    begun = [head for head in store.checkpoints.heads() if not store.has(head.run)]
    last = [store.journal(f"{h.run.label}-{h.run.protocol}-{h.cohort[0]}").read()[0] for h in begun]
    started = [[event for event in events if event["event"] == "started"] for events in last if events]
    return [events[-1]["pid"] for events in started if events]


def test_killed_workers_cost_no_bit(
    cluster: Cluster, run: Callable[..., subprocess.Popen], bucket: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    call, killed = run(cluster), []
    for _ in range(3):
        until(lambda: set(in_training(bucket)) - set(killed) or call.poll() is not None)
        for pid in set(in_training(bucket)) - set(killed):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            break
    assert call.wait(PATIENCE) == 0, said(tmp_path)
    assert len(killed) == 3
    assert outcome(bucket) == expected
    resumed = [record.provenance["resumed_at"] for record in Store(bucket).records()]
    assert any(resumed)
    assert list(Store(bucket).checkpoints.heads()) == []
    origin = next(r for r in Store(bucket).records() if r.run.variant == "mine").provenance["origin"]
    assert origin["plugins"] == ["mine.py"]  # as the caller named it, not as it travelled


def test_a_killed_scheduler_costs_no_bit(
    cluster: Cluster, run: Callable[..., subprocess.Popen], bucket: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    call = run(cluster)
    until(lambda: in_training(bucket) or call.poll() is not None)
    stop(cluster.scheduler)
    assert call.wait(PATIENCE) == 2, said(tmp_path)
    assert f"the cluster {cluster.address} is gone" in said(tmp_path)
    assert "Traceback" not in said(tmp_path), said(tmp_path)
    cluster.down()
    cluster.up()
    assert run(cluster).wait(PATIENCE) == 0, said(tmp_path)
    assert outcome(bucket) == expected
    assert any(record.provenance["resumed_at"] for record in Store(bucket).records())


def test_a_call_that_is_told_to_stop_stops_workers_elsewhere(
    cluster: Cluster, run: Callable[..., subprocess.Popen], bucket: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    call = run(cluster)
    until(lambda: in_training(bucket) or call.poll() is not None)
    call.send_signal(signal.SIGTERM)
    assert call.wait(PATIENCE) == 130, said(tmp_path)
    assert re.search(r"Interrupted: \d of 8 runs are unfinished", said(tmp_path))
    assert list(Store(bucket).checkpoints.heads())
    assert run(cluster).wait(PATIENCE) == 0, said(tmp_path)
    assert outcome(bucket) == expected


def test_what_cannot_be_done_together_is_refused(
    cluster: Cluster, run: Callable[..., subprocess.Popen], start: Start, bucket: str, tmp_path: Path
) -> None:
    """A worker with other code, or with more threads: nothing is trained."""
    for worker in cluster.workers:
        stop(worker)
    code = tmp_path / "changed"
    shutil.copytree(Path(__file__).parents[2] / "bench", code / "bench")
    shutil.copytree(Path(__file__).parents[2] / "variants", code / "variants")
    (code / "bench" / "streams.py").open("a").write("\n# changed\n")
    other = cluster.worker("worker-4", PYTHONPATH=str(code))
    assert run(cluster).wait(PATIENCE) == 2
    assert "runs other code" in said(tmp_path)
    stop(other)
    words = [*DASK, "worker", cluster.address, "--nthreads", "2", "--no-dashboard", "--local-directory", "."]
    other = start(words, "worker-5")
    assert run(cluster).wait(PATIENCE) == 2
    assert "has 2 threads" in said(tmp_path)
    assert not list(Store(bucket).folder.stamps("*/*/*.json"))


def test_a_local_cluster_and_a_shared_folder(expected: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = [*BENCH, "run", *GRID, "--results", "runs", "--cluster", "local:2"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 workers of local:2" in done.stdout
    assert outcome(str(tmp_path / "runs")) == expected
    assert not any((tmp_path / "runs").glob(".probe*"))
