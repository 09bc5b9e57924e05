"""What the report consists of: the whole, some variants alone, a device; and the threads that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import bench.speed as package
from bench import registry
from bench.speed import Wanted, every, growth, overhead, report, scale, sections, workers
from bench.speed.growth import Growth
from bench.speed.rounds import Spread

GROWTH = Growth("vmap", {1: 1.0}, {1: Spread(1, 1, 1)}, 0.5)


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Every measurement returns its name at once, and the sections are their names."""
    calls: list[tuple[Any, ...]] = []

    def stand_in(module: Any, name: str, result: Any) -> None:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append((name, *arguments))
            return result

        monkeypatch.setattr(module, name, call)

    for module, name in [
        *((sections, name) for name in ("machine", "speed", "limits", "memory", "targets")),
        (every, "section"), (every, "explanation"), (growth, "section"), (overhead, "section"),
        (scale, "section"), (workers, "section"), (package.device, "report"),
    ]:  # fmt: skip
        stand_in(module, name, f"<{module.__name__.removeprefix('bench.speed.')}.{name}>")
    stand_in(sections, "measure_case", None)
    stand_in(growth, "of_case", GROWTH)
    stand_in(overhead, "costs", None)
    stand_in(overhead, "whole", None)
    stand_in(workers, "rates", None)
    return calls


def titles(wanted: Wanted) -> list[str]:
    said: list[str] = []
    found = report(wanted, said.append)
    assert found.text == "\n".join(said)
    return said


EVERY = ["<every.explanation>", "<every.section>", "<every.section>"]


def test_the_whole_has_every_section(nothing_measured: list[tuple[Any, ...]]) -> None:
    cases = ["<sections.speed>"] * 3
    rest = ["<sections.limits>", "<sections.memory>", "<sections.targets>", *EVERY]
    last = ["<growth.section>", "<overhead.section>", "<workers.section>", "<scale.section>"]
    assert titles(Wanted()) == ["<sections.machine>", *cases, *rest, *last]
    measured = [call[1] for call in nothing_measured if call[0] == "section" and isinstance(call[1], list)]
    assert measured[:2] == [registry.names()] * 2
    assert report(Wanted(), lambda text: None).growths == {"digits": GROWTH, "MNIST's shapes": GROWTH}


def test_variants_alone(nothing_measured: list[tuple[Any, ...]]) -> None:
    assert titles(Wanted(variants=["fm"])) == ["<sections.machine>", *EVERY]
    assert [call[1:3] for call in nothing_measured if call[0] == "section"] == [(["fm"], "common"), (["fm"], "paper")]


def test_ways_alone(monkeypatch: pytest.MonkeyPatch, nothing_measured: list[tuple[Any, ...]]) -> None:
    monkeypatch.setattr(package.choices, "report", lambda device, quick: [f"<{device}, {quick}>"])
    assert titles(Wanted(ways=True)) == ["<sections.machine>", "<cpu, False>"]
    assert titles(Wanted(ways=True, quick=True)) == ["<sections.machine>", "<cpu, True>"]
    assert [call[1] for call in nothing_measured if call[0] == "machine"] == [
        "a CPU: ways to compute a cohort", "a CPU: ways to compute a cohort (quick)",
    ]  # fmt: skip


def test_a_device(nothing_measured: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    cuda = torch.device("cuda")
    assert titles(Wanted(device=cuda)) == ["<sections.machine>", "<device.report>"]
    (first,) = [call for call in nothing_measured if call[0] == "report"]
    assert first[1:3] == (("fm", "triple"), "paper")
    assert first[-1] == cuda
    titles(Wanted(variants=["rf"], device=cuda))
    assert nothing_measured[-1][1] == ["rf"]
    assert [call[1] for call in nothing_measured if call[0] == "machine"] == ["a GPU", "a GPU: rf"]


def test_threads_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(wanted: Wanted, growths: dict[str, Growth]) -> Iterator[str]:
        assert torch.get_num_threads() == 1
        raise ValueError("stop")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(package, "_sections", broken)
    with pytest.raises(ValueError, match="stop"):
        report(Wanted(quick=True), print)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
