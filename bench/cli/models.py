"""`bench export`, `bench predict`, `bench generate`: using what was trained."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_argument, path_option, results_option
from bench.errors import UsageError, shorten
from bench.paths import default_data

RUN = Annotated[
    str, typer.Argument(metavar="RUN_ID", help="A run with saved weights, or an unambiguous beginning of its id.")
]
RESULTS = Annotated[str, results_option()]
PLUGIN = Annotated[
    list[Path] | None,
    path_option("--plugin", metavar="FILE.py", help="The file of the run's variant; may be repeated."),
]
DATA = Annotated[Path | None, path_option("--data", metavar="DIR", help="Datasets. Default: $BENCH_DATA.")]


@app.command(epilog="Example:  bench export 1f3a --output digits.onnx")
def export(
    run_id: RUN,
    output: Annotated[Path, path_option("--output", metavar="FILE", help="Ending in .safetensors or .onnx.")],
    results: RESULTS = DEFAULT_RESULTS,
    data: DATA = None,
    plugin: PLUGIN = None,
) -> int:
    """Write a run's classifier, with the preprocessing of its images, to a file."""
    from safetensors.torch import save_file

    _writable(output, (".safetensors", ".onnx"))
    trained, _ = _trained(run_id, results, data, plugin)
    classifier = trained.classifier()
    with _writing(output):
        if output.suffix == ".onnx":
            from bench.execution.onnx import export_onnx

            export_onnx(classifier, output)
        else:
            tensors = {name: value.contiguous() for name, value in classifier.weights.items()}
            save_file(tensors, output, trained.metadata())
    size = sum(value.numel() for value in classifier.weights.values())
    out.print(f"wrote {output}: {trained.card.variant}, {size:,} numbers; use it with `bench predict`", markup=False)
    return 0


@app.command(epilog="Example:  bench predict digits.onnx my-images --output labels.csv")
def predict(
    model: Annotated[Path, path_argument("MODEL", "A file that `bench export` wrote.")],
    folder: Annotated[Path, path_argument("FOLDER", "Images, in sub-folders, too.")],
    output: Annotated[Path, path_option("--output", metavar="FILE.csv", help="Default: predictions.csv.")] = Path(
        "predictions.csv"
    ),
    plugin: PLUGIN = None,
) -> int:
    """Label the images of a folder with an exported classifier, and write a CSV: file, label, probability."""
    from bench.datasets.folder import image_files, read_images
    from bench.execution.onnx import read_onnx
    from bench.execution.trained import read_model

    _writable(output, (".csv",))
    _load(plugin)
    classifier: Any = read_onnx(model) if model.suffix == ".onnx" else read_model(model)
    shape = classifier.card.task.image_shape
    if len(shape) != 3:
        raise UsageError(f"{shorten(model, 300)} takes vectors, not images.")
    files = image_files(folder)
    images = read_images(files, shape, brightest=classifier.card.shift + classifier.card.divisor)
    probabilities, labels = classifier.classify(images).softmax(-1).max(-1)
    with _writing(output), output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", "probability"])
        for path, label, probability in zip(files, labels.tolist(), probabilities.tolist(), strict=True):
            writer.writerow([path.relative_to(folder), classifier.card.class_names[label], f"{probability:.6f}"])
    out.print(f"wrote {output}: {len(files)} images, {len(set(labels.tolist()))} classes", markup=False)
    return 0


@app.command(epilog="Example:  bench generate 1f3a --count 100 --output samples.png")
def generate(
    run_id: RUN,
    output: Annotated[Path, path_option("--output", metavar="FILE", help="Ending in .png or .npz (arrays).")],
    count_: Annotated[int, option("--count", metavar="N", help="Images. Default: 100.")] = 100,
    seed: Annotated[int, option("--seed", metavar="N", help="Of the noise. Default: 0.")] = 0,
    results: RESULTS = DEFAULT_RESULTS,
    data: DATA = None,
    plugin: PLUGIN = None,
) -> int:
    """Draw images from a run's generator; those of a conditional one come class by class."""
    import numpy as np
    import torch

    from bench.reporting.pictures import brightest_of, grid
    from bench.training.sampling import generate as draw

    _writable(output, (".png", ".npz"))
    if not 1 <= count_ <= 100_000:
        raise UsageError(f"--count {count_}: allowed are 1 to 100000.")
    trained, dataset = _trained(run_id, results, data, plugin)
    labels = (torch.arange(count_) * dataset.classes) // count_  # class by class, all alike
    scaled = draw(trained.variant, trained.nets(), labels, seed)
    if scaled is None:
        raise UsageError(f"variant {trained.card.variant!r} has no generator.")
    images = dataset.unscale(scaled)
    if output.suffix == ".png" and images.dim() != 4:
        raise UsageError("--output: vectors have no picture. Give a file that ends in .npz, or train with --samples.")
    with _writing(output):
        if output.suffix == ".npz":
            np.savez_compressed(output, images=images.numpy(), labels=labels.numpy())
        else:
            brightest = brightest_of(images, dataset.divisor, dataset.shift)
            grid(images, -(-count_ // dataset.classes) if trained.variant.conditional else 10, brightest).save(output)
    out.print(f"wrote {output}: {count_} images of {trained.card.variant}, noise of seed {seed}", markup=False)
    return 0


def _trained(run_id: str, results: str, data: Path | None, plugin: list[Path] | None) -> Any:
    from bench.execution import DataSource
    from bench.execution.trained import of_record
    from bench.store import Store

    _load(plugin)  # never those that the record names: a results folder may come from somebody else
    store = Store(results)
    record = store.get(run_id)
    origin = record.provenance.get("origin", {})
    source = DataSource(origin.get("dataset", record.run.dataset), data or default_data(), origin.get("image_size"))
    return of_record(store, record, source.load)


def _load(plugin: list[Path] | None) -> None:
    from bench import registry

    for path in plugin or []:
        registry.load_file(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A full disk or a folder without permission is the user's to know of, in one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--output {shorten(path)!r} cannot be written: {shorten(why, 200)}.") from error


def _writable(path: Path, endings: tuple[str, ...]) -> None:
    if path.suffix not in endings or not path.resolve().parent.is_dir() or path.is_dir():
        raise UsageError(f"--output {shorten(path)!r}: a file in an existing folder, ending in {' or '.join(endings)}.")
