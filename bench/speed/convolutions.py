"""Other ways to compute convolutions than torch's own: what they would have to beat is measured in `bench.speed.ways`.

Each takes the runs as a dimension of its own: images `[runs, batch, channels, height, width]`, weights
`[runs, *shape]` in torch's order of a single run, biases `[runs, channels]` or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench.variant import Player, Variant

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How a convolution moves over its images; with `transposed` one whose gradient by its input is a convolution."""

    stride: Pair
    padding: Pair
    transposed: bool = False
    output_padding: Pair = (0, 0)

    def enlarged(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """Height and width of what a transposed convolution makes of images of this size."""
        sides = zip(size, kernel, *self[:2], self.output_padding, strict=True)
        return tuple((side - 1) * stride - 2 * padding + k + more for side, k, stride, padding, more in sides)

    def reduced(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """The same of a convolution."""
        sides = zip(size, kernel, *self[:2], strict=True)
        return tuple((side + 2 * padding - k) // stride + 1 for side, k, stride, padding in sides)


Convolution = Callable[[Tensor, Tensor, Tensor | None, Geometry], Tensor]


def unfolded(x: Tensor, weight: Tensor, bias: Tensor | None, how: Geometry) -> Tensor:
    """Every patch as a row of a matrix, and one product of matrices per run."""
    runs, batch, kernel = *x.shape[:2], weight.shape[3:]
    if how.transposed:
        rows = x.movedim(2, -1).reshape(runs, -1, x.shape[2])
        patches = torch.bmm(rows, weight.flatten(2)).unflatten(1, (batch, -1)).mT
        size = how.enlarged(x.shape[3:], kernel)
        y = F.fold(patches.flatten(0, 1), size, kernel, padding=how.padding, stride=how.stride)
        y = y.unflatten(0, (runs, batch))
    else:
        rows = (_views if x.is_cuda else _columns)(x.flatten(0, 1), kernel, how).reshape(runs, -1, weight[0, 0].numel())
        size = how.reduced(x.shape[3:], kernel)
        y = torch.bmm(rows, weight.flatten(2).mT).unflatten(1, (batch, *size)).movedim(-1, 2)
    return y if bias is None else y + bias[:, None, :, None, None]


def _columns(images: Tensor, kernel: tuple[int, ...], how: Geometry) -> Tensor:
    """The patches `[images, places, channels x kernel]`, by torch's own function."""
    return F.unfold(images, kernel, padding=how.padding, stride=how.stride).mT


def _views(images: Tensor, kernel: Sequence[int], how: Geometry) -> Tensor:
    """The same by one copy, for a GPU: there torch's own takes image after image."""
    (down, right), (top, left) = how.stride, how.padding
    places = F.pad(images, (left, left, top, top)).unfold(2, kernel[0], down).unfold(3, kernel[1], right)
    return places.permute(0, 2, 3, 1, 4, 5).reshape(len(images), -1, images.shape[1] * kernel[0] * kernel[1])


def channels_last(x: Tensor, weight: Tensor, bias: Tensor | None, how: Geometry) -> Tensor:
    """torch's own, of all runs as one with groups, on images of which the channels of a pixel lie side by side."""
    runs = len(x)
    images = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    weights = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    shifts = None if bias is None else bias.flatten()
    if how.transposed:
        y = F.conv_transpose2d(images, weights, shifts, how.stride, how.padding, how.output_padding, groups=runs)
    else:
        y = F.conv2d(images, weights, shifts, how.stride, how.padding, groups=runs)
    return y.unflatten(1, (runs, -1)).transpose(0, 1)


def convolving(variant: Variant, convolution: Convolution, *, stacked: bool) -> Variant:
    """The variant, whose losses compute their convolutions so; `stacked`: they will be called under `vmap`."""
    computing = Computing(convolution, stacked)

    def changed(player: Player) -> Player:
        return replace(player, loss=partial(_within, computing, player.loss))

    found = tuple(replace(p, players=tuple(changed(player) for player in p.players)) for p in variant.phases())
    variant.phases = lambda: found  # type: ignore[method-assign]
    return variant


def _within(computing: Computing, loss: Callable[..., Any], *arguments: Any) -> Any:
    with computing:
        return loss(*arguments)


class Computing(TorchFunctionMode):
    """Convolutions called inside it go another way; those with groups or dilation go torch's."""

    def __init__(self, convolution: Convolution, stacked: bool) -> None:
        super().__init__()
        self.convolution, self.stacked = convolution, stacked

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = _read(func, args, kwargs)
        if found is None:
            return func(*args, **kwargs)
        if self.stacked:
            return _OfStack.apply(self.convolution, *found)
        x, weight, bias, how = found
        return self.convolution(x[None], weight[None], None if bias is None else bias[None], how)[0]


class _OfStack(torch.autograd.Function):
    """Gets from `vmap` the tensors of all runs. Gradients are those of what is called: they are taken outside."""

    generate_vmap_rule = False

    @staticmethod
    def forward(
        convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None, how: Geometry
    ) -> Tensor:  # outside of `vmap`, where how much noise a loss reads is learnt
        return convolution(x[None], weight[None], None if bias is None else bias[None], how)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: Any, convolution: Any, x: Tensor, weight: Tensor, bias: Any, how: Geometry) -> Any:
        def of_runs(tensor: Tensor | None, dim: int | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)

        return convolution(*(map(of_runs, (x, weight, bias), in_dims[1:4])), how), 0


def _pair(value: int | Sequence[int]) -> Pair:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


_NAMES = {
    F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    F.conv_transpose2d: ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
}
_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}


def _read(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor | None, Geometry] | None:
    """Images, weights, biases and geometry of a call; None if it is none of a convolution without groups or gaps."""
    if func not in _NAMES:
        return None
    given = _DEFAULTS | dict(zip(_NAMES[func], args, strict=False)) | kwargs
    if given["groups"] != 1 or _pair(given["dilation"]) != (1, 1) or isinstance(given["padding"], str):
        return None
    moves = _pair(given["stride"]), _pair(given["padding"])
    how = Geometry(*moves, func is F.conv_transpose2d, _pair(given["output_padding"]))
    return given["input"], given["weight"], given["bias"], how
