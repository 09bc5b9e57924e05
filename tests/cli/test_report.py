"""`bench report` and `bench table` on stored runs: which files there are, and what is in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Cli = Callable[..., Any]
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "digits"
HOSTILE = "<img src=x onerror=alert(1)>"


def copy_runs(root: Path, variants: tuple[str, ...], seeds: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Committed runs of digits at 20 and 50 labels, changed."""
    for variant in variants:
        (root / "digits" / variant).mkdir(parents=True)
        for path in (REFERENCE / variant).glob("*.json"):
            record = json.loads(path.read_text())
            if record["run"]["budget"] <= 50 and record["run"]["seed"] < seeds:
                change(record)
                (root / "digits" / variant / path.name).write_text(json.dumps(record))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    copy_runs(tmp_path / "runs", ("supervised", "fm"), 3, lambda record: None)
    return tmp_path / "runs"


def as_smoke(record: dict[str, Any]) -> None:
    """What a smoke run leaves: one evaluation on 256 images."""
    record["run"]["protocol"] = "smoke"
    record["test_images"] = 256
    curve = record["curve"]
    for name in ("steps", "seconds", "raw", "ema"):
        curve[name] = curve[name][:1]
    curve["logs"] = {name: values[:1] for name, values in curve["logs"].items()}


def test_a_report_is_a_page_tables_figures_and_a_comparison(bench_cli: Cli, results: Path, tmp_path: Path) -> None:
    done = bench_cli("report", str(results), "--output", "out")
    assert done.code == 0
    out = tmp_path / "out"
    assert "out/index.html" in done.out
    assert {path.name for path in out.iterdir()} == {"index.html", "comparison.md", "tables", "figures"}
    assert {path.name for path in (out / "tables").iterdir()} == {
        f"cells.{end}" for end in ("md", "tex", "html", "csv")
    }
    drawn = {path.stem for path in (out / "figures").glob("*.svg")}
    assert drawn == {path.stem for path in (out / "figures").glob("*.png")}
    assert {f"{kind}-digits-common" for kind in ("budgets", "seeds", "differences", "curves", "losses")} <= drawn
    assert "fm" in (out / "comparison.md").read_text()
    page = (out / "index.html").read_text()
    assert len(page.encode()) < 8_000_000
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_smoke_runs_of_two_variants_give_four_figures(bench_cli: Cli, tmp_path: Path) -> None:
    copy_runs(tmp_path / "runs", ("supervised", "fm"), 2, as_smoke)
    assert bench_cli("report", "runs", "--output", "out", "--stale").code == 0
    pictures = list((tmp_path / "out" / "figures").glob("*.png"))
    assert len(pictures) >= 4
    for path in pictures:
        assert Image.open(path).convert("L").getextrema() != (255, 255)
    assert "their numbers mean nothing" in (tmp_path / "out" / "tables" / "cells.md").read_text()


def test_the_same_runs_give_the_same_bytes_and_old_files_go(bench_cli: Cli, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports" / "runs"  # the default place
    shutil.rmtree(results / "digits" / "fm")
    bench_cli("report", str(results))
    first = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "figures" / "old.png").touch()
    (out / "notes.txt").write_text("mine")
    bench_cli("report", str(results))
    second = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert second == first | {Path("notes.txt"): b"mine"}


def test_a_folder_with_other_things_is_left_alone(bench_cli: Cli, results: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "figures").mkdir(parents=True)
    (tmp_path / "mine" / "figures" / "thesis.png").touch()
    (tmp_path / "mine" / "index.html").write_text("<title>My home page</title>")
    done = bench_cli("report", str(results), "--output", "mine")
    assert done.code == 2
    assert "a folder with other things in it" in done.err
    assert (tmp_path / "mine" / "figures" / "thesis.png").exists()
    assert (tmp_path / "mine" / "index.html").read_text() == "<title>My home page</title>"
    (tmp_path / "mine" / "index.html").unlink()
    assert bench_cli("report", str(results), "--output", "mine").code == 2


def test_names_from_a_results_file_stay_text(bench_cli: Cli, tmp_path: Path) -> None:
    def rename(record: dict[str, Any]) -> None:
        if record["run"]["variant"] == "fm":
            record["run"]["row"] = HOSTILE

    copy_runs(tmp_path / "runs", ("supervised", "fm"), 2, rename)
    assert bench_cli("report", "runs", "--output", "out").code == 0
    for path in (tmp_path / "out").rglob("*.html"):
        assert HOSTILE not in path.read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in (tmp_path / "out" / "tables" / "cells.html").read_text()


def test_without_runs_there_is_no_report(bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = bench_cli("report", "empty")
    assert (done.code, done.out) == (2, "")
    assert "there are no runs to report on" in done.err
    assert not (tmp_path / "reports").exists()


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_layout_has_no_metric_of_its_own(bench_cli: Cli, results: Path) -> None:
    done = bench_cli("table", str(results), "--layout", "table2", "--metric", "error")
    assert done.code == 2
    assert "--metric has no effect with --layout" in done.err


@pytest.mark.parametrize("format", ["markdown", "latex", "html", "csv"])
def test_a_layout_in_every_format(bench_cli: Cli, results: Path, format: str) -> None:
    done = bench_cli("table", str(results), "--layout", "table2", "--format", format)
    assert done.code == 0
    assert "97.34" in done.out
    assert "6.86" in done.out


def test_layouts_are_listed(bench_cli: Cli) -> None:
    names = {line.split()[0] for line in bench_cli("list", "layouts").out.splitlines()}
    assert {"table2", "badgan", "salimans-table1", "triplegan-table2", "silva-svhn", "ghaboosi-mnist"} <= names
    assert bench_cli("list", "layouts", "somewhere").code == 2
