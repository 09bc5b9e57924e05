"""Pictures of what generators make: grids of images, films of their training, points in the plane."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend that needs no display

SMALLEST = 32  # pixels: smaller images are enlarged
FRAME = 400  # milliseconds
COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7")
FAKES = "#D55E00"


def grid(images: Tensor, columns: int, brightest: float = 255) -> Image.Image:
    """Images `[n, 1 or 3, height, width]`, 0 to `brightest`, in rows of `columns`."""
    factor = -(-SMALLEST // max(images.shape[2:]))
    large = images.float().repeat_interleave(factor, 2).repeat_interleave(factor, 3) / brightest
    picture = make_grid(large.clamp(0, 1), nrow=columns, padding=2, pad_value=1.0)
    return Image.fromarray((255 * picture).round().byte().permute(1, 2, 0).numpy())


def film(frames: Sequence[Image.Image]) -> bytes:
    """An animated GIF that rests on its last frame."""
    durations = [FRAME] * (len(frames) - 1) + [5 * FRAME]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=list(frames[1:]), duration=durations, loop=0)
    return buffer.getvalue()


def plane(samples: Mapping[str, Tensor], frame: int, title: str = "") -> Image.Image:
    """One frame of samples in the plane, as `draw_plane` draws it."""
    figure, panel = plt.subplots(figsize=(3.4, 3.6))
    draw_plane(panel, samples, frame, title)
    return _image(figure)


def draw_plane(panel: Any, samples: Mapping[str, Tensor], frame: int, title: str = "") -> None:
    """The classifier's answers as areas, the data grey, labelled points black, generated points on top."""
    extent, classes = float(samples["extent"]), samples["classes"][frame]
    line = np.linspace(-extent, extent, len(classes))
    levels = np.arange(int(samples["classes"].max()) + 2) - 0.5
    panel.contourf(line, line, classes.numpy(), levels=levels, colors=COLOURS, alpha=0.25)
    panel.scatter(*samples["points"].T, s=2, color="#777777", alpha=0.5, linewidths=0)
    if "images" in samples:
        panel.scatter(*samples["images"][frame].T, s=3, color=FAKES, alpha=0.7, linewidths=0)
    panel.scatter(*samples["labelled"].T, s=28, color="black", marker="x", linewidths=1.5)
    panel.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xticks=[], yticks=[])
    panel.set_title(title, fontsize=9)


def _image(figure: Any) -> Image.Image:
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return Image.open(buffer).convert("RGB")


def draw_samples(samples: Mapping[str, Tensor], base: str, brightest: float) -> dict[str, bytes]:
    """Pictures of a run's samples: files by name, which begins with `base`."""
    images, steps = samples.get("images"), samples["steps"].tolist()
    made: dict[str, Image.Image | list[Image.Image]] = {}
    if "classes" in samples:
        frames = [plane(samples, frame, f"step {step}") for frame, step in enumerate(steps)]
        made = {f"{base}.samples.png": frames[-1], f"{base}.samples.gif": frames}
    elif images is not None and images.dim() == 5:
        columns = len(samples["labels"]) // (int(samples["labels"].max()) + 1)
        frames = [grid(shot, columns, brightest) for shot in images]
        made = {f"{base}.samples.png": frames[-1], f"{base}.samples.gif": frames}
        for name in ("interpolation", "attributes"):
            if name in samples:
                made[f"{base}.{name}.png"] = grid(samples[name].flatten(0, 1), samples[name].shape[1], brightest)
    return {name: film(own) if isinstance(own, list) else _png(own) for name, own in made.items()}


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def brightest_of(images: Tensor, divisor: float, shift: float) -> float:
    """The largest value that stored images of this kind take."""
    return float(min(255, divisor + shift)) if images.dtype == torch.uint8 else float(images.max())
