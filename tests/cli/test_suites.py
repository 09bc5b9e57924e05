"""Every suite, cut down: on real data where they are there, on generated files in the official formats where not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from scipy.io import savemat

from bench.grid import suites
from bench.store import Store

Cli = Callable[..., Any]
GENERATED = [
    name for name in suites.names() if {p.get("dataset") for p in suites.load(name).parts} <= {"digits", "two-circles"}
]
OTHERS = [name for name in suites.names() if name not in GENERATED]


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST, SVHN and CIFAR-10 with few images of noise, larger than any budget of the suites in smoke form."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    md5s = {}
    for part, n in (("train", 1200), ("t10k", 64)):
        for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            content = rng.integers(0, 256, shape) if len(shape) == 3 else np.arange(n) % 10
            header = (2048 + len(shape)).to_bytes(4, "big") + b"".join(s.to_bytes(4, "big") for s in shape)
            path = raw / f"{part}-{kind}-ubyte"
            path.write_bytes(header + content.astype(np.uint8).tobytes())
            md5s[f"MNIST/raw/{path.name}"] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr("bench.datasets.official.MNIST_MD5", md5s)
    accepted = {}
    for split, n in (("train", 2100), ("test", 64)):
        path = root / f"{split}_32x32.mat"
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]
        savemat(path, {"X": rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8), "y": labels})
        accepted[split] = ["http://unused", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", accepted)
    x, y = rng.integers(0, 256, (8100, 32, 32, 3), dtype=np.uint8), np.arange(8100) % 10
    np.savez(root / "cifar10.npz", x_train=x, y_train=y, x_test=x[:64], y_test=y[:64])
    monkeypatch.setattr("variants.parts.confident.zca", _identity)  # takes seconds, and has a test of its own
    return root


def _identity(images: Any) -> Any:
    import torch

    features = next(iter(images)).flatten(1).shape[1]
    return torch.eye(features), torch.zeros(features)


LONG = {
    "table2-quick",
    "silva-svhn",
    "petrova-cats-dogs",
    "digits",
    "triplegan",
    "badgan-ablation",
    "salimans-cifar10",
    "badgan",
    "raghav-mnist64",
    "reference",
    "salimans-svhn",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in GENERATED])
def test_suites_without_downloads(name: str, bench_cli: Cli, tmp_path: Path) -> None:
    _passes(bench_cli, tmp_path, name, "--steps", "4")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in OTHERS])
def test_suites_on_files_in_the_official_formats(name: str, bench_cli: Cli, tmp_path: Path, small_data: Path) -> None:
    """One step each: that all networks are built, that all recipes are sound."""
    _passes(bench_cli, tmp_path, name, "--data", str(small_data), "--steps", "1")


def _passes(bench_cli: Cli, folder: Path, name: str, *more: str) -> None:
    answer = bench_cli("run", "--suite", name, "--protocol", "smoke", "--jobs", "1", *more)
    assert answer.code == 0, answer.out[-2000:] + answer.err
    records = list(Store(folder / "results" / "runs").records())
    assert {record.status for record in records} == {"done"}
    assert {record.run.seed for record in records} == {0}
    parts, rows = suites.load(name).parts, suites.load(name).rows
    asked = {n for part in parts for n in part["variants"].split(",")}
    shown = {record.run.label for record in records}
    assert shown <= asked
    assert {rows[n].variant if n in rows else n for n in asked} == {record.run.variant for record in records}


def test_a_mistake_in_the_last_part_trains_nothing_of_the_first(bench_cli: Cli, tmp_path: Path) -> None:
    parts = "[{dataset: digits, labels: 20}, {dataset: two-circles, labels: 5000}]"
    (tmp_path / "mine.yaml").write_text(f"variants: supervised\nseeds: 1\nsteps: 2\nparts: {parts}")
    answer = bench_cli("run", "--suite", "mine.yaml", "--jobs", "1")
    assert answer.code == 2
    assert "5000 labels" in answer.err
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_smoke_cuts_a_suite_down_unless_options_say_otherwise(bench_cli: Cli) -> None:
    def planned(*words: str) -> str:
        answer = bench_cli("run", "--suite", "digits", "--protocol", "smoke", "--dry-run", *words)
        assert answer.code == 0, answer.err
        return answer.out

    assert "supervised, smoke@4: 100 labels, 4 steps, 1 seed\n" in planned()
    assert "supervised, smoke@4: 50 labels, 4 steps, 2 seeds" in planned("--labels", "30,50,70", "--seeds", "2")
    assert "supervised, smoke@7: 100 labels, 7 steps" in planned("--steps", "7")
    assert "supervised, smoke@0.5: 100 labels, 10 steps" in planned("--scale", "0.5")
