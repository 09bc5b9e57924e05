"""A file holds one report per device."""

from __future__ import annotations

from pathlib import Path

from bench.speed.file import keep, parts, title

CPU, GPU = title("a CPU") + "\nslow\n", title("a GPU") + "\nfast\n"


def test_a_report_replaces_that_of_its_device_alone(tmp_path: Path) -> None:
    path = tmp_path / "speed.md"
    keep(path, CPU)
    assert path.read_text() == CPU
    keep(path, GPU)
    assert parts(path.read_text()) == [CPU + "\n", GPU]
    newer = title("a CPU") + "\nfaster\n"
    keep(path, newer)
    assert parts(path.read_text()) == [newer + "\n", GPU]
    keep(path, newer)
    assert path.read_text() == f"{newer}\n{GPU}"


def test_what_is_no_report_goes(tmp_path: Path) -> None:
    path = tmp_path / "speed.md"
    path.write_bytes(b"\xff something else\n" + GPU.encode())
    keep(path, CPU)
    assert path.read_text() == f"{GPU}\n{CPU}"
