"""`bench speed` on the command line: what it is asked for, what it writes, what it refuses before it measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench.speed
from bench.speed import Report, Wanted
from bench.speed.growth import Growth
from bench.speed.rounds import Spread

Cli = Callable[..., Any]
GAN = Path(__file__).parents[1] / "toy_gan.py"
GROWTHS = {"digits": Growth("vmap", {1: 1.0, 2: 0.7}, {1: Spread(1, 1, 1), 2: Spread(0.7, 0.6, 0.8)}, 0.5)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    """What is to be measured; it is not."""
    found: list[Wanted] = []

    def report(wanted: Wanted, say: Callable[[str], None]) -> Report:
        found.append(wanted)
        say("measured")
        return Report("the whole\n", GROWTHS)

    monkeypatch.setattr(bench.speed, "report", report)
    return found


def test_report_and_figure_are_written(bench_cli: Cli, asked: list[Wanted], tmp_path: Path) -> None:
    answer = bench_cli("speed", "--device", "cpu", "--quick", "--output", "speed.md", "--figure", "speed.svg")
    assert (answer.code, answer.out) == (0, "measured\n")
    assert asked[0].quick
    assert asked[0].variants is None
    assert (tmp_path / "speed.md").read_text() == "the whole\n"
    assert (tmp_path / "speed.svg").read_bytes().startswith(b"<?xml")


def test_a_plugin_alone(bench_cli: Cli, asked: list[Wanted]) -> None:
    assert bench_cli("speed", "--plugin", str(GAN), "--variants", "toy,fm", "--device", "cpu").code == 0
    assert asked[0].variants == ["toy", "fm"]


def test_a_plugin_is_measured(bench_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    once = bench.speed.Limits(bench.speed.Effort(1, 0.0), 60.0)
    monkeypatch.setattr(bench.speed, "QUICK_LIMITS", {"common": once, "paper": once})
    answer = bench_cli("speed", "--plugin", str(GAN), "--variants", "toy", "--device", "cpu", "--quick")
    assert answer.code == 0
    assert "| toy" in answer.out
    assert "Left out: `toy`: variant 'toy' has no 'paper' recipe" in answer.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--variants fmm", "unknown variant 'fmm'. Did you mean 'fm'"),
        ("--variants fm,,triple", "--variants"),
        ("--device gpu", "unknown device in --device 'gpu'"),
        ("--plugin none.py", "plug-in 'none.py' is no Python file"),
        ("--output nowhere/speed.md", "--output 'nowhere/speed.md': name a file in an existing folder"),
        ("--figure nowhere/speed.svg", "--figure 'nowhere/speed.svg': name a file in an existing folder"),
        ("--figure speed.txt", "--figure 'speed.txt': allowed endings are .svg, .png, .pdf"),
        ("--figure speed.svg --variants fm", "--figure goes with the whole report"),
        ("--figure speed.svg --ways", "--figure goes with the whole report"),
        ("--ways --variants fm", "--ways looks at cohorts of its own. Leave out --variants."),
    ],
)
def test_refused(bench_cli: Cli, asked: list[Wanted], words: str, message: str) -> None:
    answer = bench_cli("speed", *words.split())
    assert answer.code == 2
    assert message in answer.err
    assert not asked
