"""Classifiers as ONNX files (extra `onnx`): one graph from stored images to logits, with the card in its metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from bench.errors import UsageError, shorten
from bench.execution.trained import KEY, Card, Trained


class _Graph(nn.Module):
    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, images: Tensor) -> Tensor:
        card = self.trained.card
        return self.trained.variant.classify(self.trained.nets(), (images - card.shift) / card.divisor)


def export_onnx(trained: Trained, path: Path) -> None:
    """Input `images`: float32 `[batch, *image_shape]` in the range of stored images; output `logits [batch, K]`."""
    onnx = _library("onnx")
    _library("onnxscript")
    shape = trained.card.task.image_shape
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        _Graph(trained).eval(), (torch.zeros(2, *shape),), dynamo=True, verbose=False,
        input_names=["images"], output_names=["logits"], dynamic_shapes={"images": {0: batch}},
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key=KEY, value=json.dumps(asdict(trained.card)))
    onnx.save(model, path)


class Session:
    """A classifier in an ONNX file."""

    def __init__(self, path: Path) -> None:
        runtime = _library("onnxruntime")
        try:
            self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            self.card = TypeAdapter(Card).validate_json(self.session.get_modelmeta().custom_metadata_map[KEY])
        except (KeyError, ValidationError) as error:
            raise UsageError(f"{shorten(path, 300)} was not written by `bench export`.") from error
        except Exception as error:  # the library's own errors have no common class
            raise UsageError(f"{shorten(path, 300)} is no readable ONNX file: {shorten(error)}.") from error

    def classify(self, images: Tensor) -> Tensor:
        """Logits `[n, K]` for stored images `[n, *image_shape]`."""
        parts = [self.session.run(["logits"], {"images": part.float().numpy()})[0] for part in images.split(500)]
        return torch.cat([torch.from_numpy(part) for part in parts])


def read_onnx(path: Path) -> Session:
    return Session(path)


def _library(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"ONNX files need the package {name!r}: pip install 'ssgan-bench[onnx]'.") from error
