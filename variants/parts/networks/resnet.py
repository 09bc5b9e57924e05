"""ResNet-18 (He et al., arXiv:1512.03385) as a classifier, and the DCGAN generator that faces it in
opetrova/SemiSupervisedPytorchGAN."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import BatchNorm, Dropout, Layer, Linear, Stack
from variants.parts.networks.conv import Enlarge, GlobalAveragePool
from variants.parts.networks.mlp import LATENT, Classifier, Minibatch, Norm
from variants.parts.networks.sources import Fit

SIDE = 32  # pixels at least; the generator's sides are multiples


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Block(Layer):
    """Two convolutions 3 x 3 with batch norm, and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, running: bool) -> None:
        super().__init__()
        self.first, self.second = _conv(inputs, outputs, 3, stride), _conv(outputs, outputs, 3, 1)
        self.norms = nn.ModuleList(BatchNorm(outputs, running=running) for _ in range(2))
        around = inputs != outputs or stride != 1
        self.around = Stack(_conv(inputs, outputs, 1, stride), BatchNorm(outputs, running=running)) if around else None

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        y = F.relu(self.norms[0](self.first(x), noise, update))
        y = self.norms[1](self.second(y), noise, update)
        return F.relu(y + (x if self.around is None else self.around(x, noise, update)))


def resnet18(
    task: Task, outputs: int, *, input_dropout: float, hidden_dropout: float, running: bool, minibatch: Minibatch
) -> Classifier:
    """Four stages of two blocks with 64 to 512 channels; dropout, which the original lacks, before stages and head."""
    layers: list[nn.Module] = [Enlarge(SIDE), Dropout(input_dropout), _conv(task.image_shape[0], 64, 7, 2)]
    layers += [BatchNorm(64, running=running), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width in (64, 128, 256, 512):
        for index in range(2):
            layers.append(Block(channels, width, 2 if index == 0 and width > 64 else 1, running))
            channels = width
    body = Stack(*layers, GlobalAveragePool(), Dropout(hidden_dropout))
    return Classifier(body, Stack(*minibatch.layers(512), Linear(512 + minibatch.kernels, outputs)))


def dcgan(task: Task, norm: Norm) -> Stack:
    """z `[batch, 100]` to images: transposed convolutions, batch norm and ReLU between them.

    The first makes 1 / 32 of the side; the others enlarge it by 2, 2, 4 and 2.
    """
    side = max(1, -(-max(task.image_shape[1:]) // SIDE))
    layers: list[nn.Module] = [nn.Unflatten(1, (LATENT, 1, 1))]
    channels = LATENT
    for width, kernel, stride, padding in ((512, side, 1, 0), (256, 4, 2, 1), (128, 4, 2, 1), (64, 4, 4, 0)):
        layers += [_deconv(channels, width, kernel, stride, padding), norm.layer(width), nn.ReLU()]
        channels = width
    return norm.stack(LATENT, *layers, _deconv(64, task.image_shape[0], 4, 2, 1), Fit(task))


def _deconv(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, bias=False)
    nn.init.normal_(layer.weight, std=0.02)
    return layer
