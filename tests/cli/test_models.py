"""Samples, export, prediction and generation, from a run that was trained with its weights kept."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench import registry
from bench.datasets import Dataset
from bench.execution.trained import read_model
from bench.store import Record, Store

Cli = Callable[..., Any]


@pytest.fixture
def kept(bench_cli: Cli, tmp_path: Path) -> Callable[[str], tuple[Record, Path]]:
    """Trains one short run of a variant in the folder `r`: its record, and the path of its files."""

    def train(variant: str) -> tuple[Record, Path]:
        words = ["--labels", "20", "--seeds", "1", "--steps", "4", "--jobs", "1", "--results", "r"]
        answer = bench_cli("run", "--variants", variant, *words, "--save-weights", "--save-logits", "--samples")
        assert answer.code == 0, answer.err
        store = Store(tmp_path / "r")
        (record,) = (r for r in store.records() if r.run.variant == variant)
        return record, (store.folder.root / store.name(record.run))

    return train


def test_samples_become_pictures(kept: Any) -> None:
    for variant, names in (
        ("fm", ["samples.gif", "samples.png"]),
        ("triple", ["attributes.png", "interpolation.png", "samples.gif", "samples.png"]),
    ):
        record, path = kept(variant)
        found = sorted(p.name.removeprefix(f"{record.id}.") for p in path.parent.glob("*.[pg][ni][gf]"))
        assert found == names
        with Image.open(path.with_suffix(".samples.png")) as picture:
            assert picture.size == (10 * 34 + 2, 10 * 34 + 2)  # ten images of 4 x 8 pixels, 2 pixels apart
        with Image.open(path.with_suffix(".samples.gif")) as film:
            assert film.n_frames == 4  # evaluations after each step


def test_an_exported_classifier_gives_the_runs_own_logits(kept: Any, bench_cli: Cli, digits: Dataset) -> None:
    record, path = kept("fm")
    assert bench_cli("export", record.id[:8], "--output", "m.safetensors", "--results", "r").code == 0
    own = load_file(path.with_suffix(".logits.safetensors"))["logits"]
    assert torch.allclose(read_model(Path("m.safetensors")).classify(digits.test_images), own, atol=1e-5)
    with safe_open("m.safetensors", framework="pt") as file:
        assert {name.split("/")[0] for name in file.keys()} == {"discriminator"}  # noqa: SIM118  (no generator)


def test_onnx_gives_the_same_logits(kept: Any, bench_cli: Cli, digits: Dataset) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    from bench.execution.onnx import read_onnx

    record, path = kept("triple")
    assert bench_cli("export", record.id, "--output", "m.onnx", "--results", "r").code == 0
    own = load_file(path.with_suffix(".logits.safetensors"))["logits"]
    session = read_onnx(Path("m.onnx"))
    assert torch.allclose(session.classify(digits.test_images[:30]), own[:30], atol=1e-4)
    assert session.card.class_names == tuple("0123456789")


def test_predict_labels_a_folder(kept: Any, bench_cli: Cli, digits: Dataset, tmp_path: Path) -> None:
    record, path = kept("supervised")
    assert bench_cli("export", record.id, "--output", "m.safetensors", "--results", "r").code == 0
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for i in range(6):
        pixels = (digits.test_images[i, 0].float() * 255 / 16).round().byte().numpy()
        Image.fromarray(pixels).save(tmp_path / "in" / ("sub" if i % 2 else "") / f"{i}.png")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / "in" / "large.jpg")  # colour, of another size
    answer = bench_cli("predict", "m.safetensors", "in", "--output", "out.csv")
    assert answer.code == 0, answer.err
    rows = {row["file"]: row for row in csv.DictReader((tmp_path / "out.csv").open())}
    assert set(rows) == {"0.png", "2.png", "4.png", "sub/1.png", "sub/3.png", "sub/5.png", "large.jpg"}
    own = load_file(path.with_suffix(".logits.safetensors"))["logits"][:6].softmax(-1)
    for i in range(6):
        row = rows[f"sub/{i}.png" if i % 2 else f"{i}.png"]
        assert row["label"] == str(int(own[i].argmax()))
        assert float(row["probability"]) == pytest.approx(float(own[i].max()), abs=0.02)  # pixels were rounded


def test_generate_draws_from_the_saved_generator(kept: Any, bench_cli: Cli) -> None:
    record, _ = kept("triple")
    words = ["generate", record.id, "--results", "r", "--count", "30"]
    assert bench_cli(*words, "--output", "a.npz").code == 0
    assert bench_cli(*words, "--output", "b.npz").code == 0
    assert bench_cli(*words, "--output", "c.npz", "--seed", "1").code == 0
    a, b, c = (np.load(f"{name}.npz") for name in "abc")
    assert a["images"].shape == (30, 1, 8, 8)
    assert a["labels"].tolist() == sorted([*range(10)] * 3)
    assert np.array_equal(a["images"], b["images"])
    assert not np.array_equal(a["images"], c["images"])
    assert bench_cli(*words, "--output", "a.png").code == 0
    with Image.open("a.png") as picture:
        assert picture.size == (3 * 34 + 2, 10 * 34 + 2)  # a row per class


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "{id}", "--output", "m.txt", "--results", "r"], "ending in .safetensors or .onnx"),
        (["export", "{id}", "--output", "no/m.onnx", "--results", "r"], "existing folder"),
        (["export", "ffff", "--output", "m.onnx", "--results", "r"], "unknown run"),
        (["generate", "{id}", "--output", "a.png", "--results", "r"], "has no generator"),
        (["generate", "{id}", "--output", "a.png", "--results", "r", "--count", "0"], "--count 0"),
        (["predict", "broken.safetensors", "."], "no readable safetensors file"),
        (["predict", "foreign.safetensors", "."], "not written by `bench export`"),
        (["predict", "none.safetensors", "."], "no readable safetensors file"),
    ],
)
def test_refusals(words: list[str], message: str, kept: Any, bench_cli: Cli, tmp_path: Path) -> None:
    record, _ = kept("supervised")
    (tmp_path / "broken.safetensors").write_text("nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    answer = bench_cli(*[word.replace("{id}", record.id) for word in words])
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_a_run_without_weights_says_how_to_keep_them(bench_cli: Cli, tmp_path: Path) -> None:
    assert (
        bench_cli("run", "--variants", "fm", "--labels", "20", "--seeds", "1", "--steps", "2", "--jobs", "1").code == 0
    )
    (record,) = Store(tmp_path / "results" / "runs").records()
    answer = bench_cli("generate", record.id, "--output", "a.png")
    assert answer.code == 2
    assert "--save-weights" in answer.err


@pytest.mark.slow
def test_circles_are_drawn_and_measured(bench_cli: Cli, tmp_path: Path) -> None:
    words = ["--dataset", "two-circles", "--labels", "7", "--seeds", "2", "--steps", "3", "--jobs", "1", "--samples"]
    assert bench_cli("run", "--variants", "supervised,fm,belt", *words).code == 0
    answer = bench_cli("plot", "circles", "--output", "c.png")
    assert answer.code == 0, answer.err
    rows = {row.split("|")[1].strip(): row.split("|")[2:] for row in answer.out.splitlines() if row.startswith("| ")}
    assert rows["belt"][2].strip() == "100.0 ± 0.0"
    assert rows["supervised"][2].strip() == "–"
    with Image.open("c.png") as picture:
        assert picture.size[0] > 900


def test_samples_are_drawn_side_by_side(bench_cli: Cli) -> None:
    words = ["--labels", "20", "--seeds", "2", "--steps", "2", "--jobs", "1", "--samples"]
    assert bench_cli("run", "--variants", "supervised,fm,triple", *words).code == 0
    assert bench_cli("plot", "samples", "--output", "s.png").code == 0
    with Image.open("s.png") as picture:
        assert picture.size == (2 * 462, 275)  # two panels: the classifier has no images, further seeds are not shown
    assert "no runs with generated images" in bench_cli("plot", "samples", "--variants", "supervised").err


PLUGIN = """
from variants.fm import FM

class Mine(FM):
    name = "mine"
"""


def test_a_plugin_that_a_record_names_is_not_loaded_unless_it_is_named(bench_cli: Cli, tmp_path: Path) -> None:
    """A results folder may come from somebody else, and a plug-in is code."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = ["--labels", "20", "--seeds", "1", "--steps", "2", "--jobs", "1", "--save-weights", "--plugin", "mine.py"]
    assert bench_cli("run", "--variants", "mine", *words).code == 0
    (record,) = Store(tmp_path / "results" / "runs").records()
    assert record.provenance["origin"]["plugins"] == ["mine.py"]
    registry._plugins.clear()
    with (tmp_path / "mine.py").open("a") as file:
        file.write("open('was-run', 'w')")
    answer = bench_cli("generate", record.id, "--output", "a.npz")
    assert answer.code == 2
    assert "--plugin" in answer.err
    assert not (tmp_path / "was-run").exists()
    assert bench_cli("generate", record.id, "--output", "a.npz", "--plugin", "mine.py").code == 0
    assert bench_cli("export", record.id, "--output", "m.safetensors", "--plugin", "mine.py").code == 0
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "in" / "a.png")
    registry._plugins.clear()
    assert "--plugin" in bench_cli("predict", "m.safetensors", "in").err
    assert bench_cli("predict", "m.safetensors", "in", "--plugin", "mine.py").code == 0


def test_run_files_that_were_copied_alone_have_no_pictures(bench_cli: Cli, tmp_path: Path) -> None:
    for dataset in ("digits", "two-circles"):
        words = ["--dataset", dataset, "--labels", "20", "--seeds", "1", "--steps", "2", "--jobs", "1", "--samples"]
        assert bench_cli("run", "--variants", "fm", *words).code == 0
    for path in tmp_path.rglob("*.samples.safetensors"):
        path.unlink()
    for kind in ("samples", "circles"):
        answer = bench_cli("plot", kind, "--output", "x.png")
        assert answer.code == 2
        assert "copies of run files" in answer.err


def test_a_file_that_cannot_be_written_is_one_line(kept: Any, bench_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = kept("fm")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    monkeypatch.setattr("numpy.savez_compressed", full)
    for words in (["export", record.id, "--output", "m.safetensors"], ["generate", record.id, "--output", "a.npz"]):
        answer = bench_cli(*words, "--results", "r")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "No space left on device" in answer.err
