"""A run's network gives what `torch.func.functional_call` gives, and leaves the template as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.training.executor import BoundNetwork
from bench.training.storage import StackedNetwork, template


class Tied(nn.Module):
    """A weight with two places, a buffer that changes in place, and a place without a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        if x.shape[0] > 4:
            raise ValueError("too many")
        return self.second(torch.relu(self.first(x)))


@pytest.fixture
def network() -> StackedNetwork:
    return StackedNetwork(template(Tied), [Tied(), Tied()], torch.device("cpu"))


@pytest.mark.parametrize("run", [0, 1])
def test_like_functional_call(network: StackedNetwork, run: int) -> None:
    tensors = {name: value[run].clone() for name, value in (network.parameters | network.buffers).items()}
    expected = {name: value.clone() for name, value in tensors.items()}
    x = torch.arange(12.0).reshape(4, 3)
    assert torch.equal(BoundNetwork(network, tensors)(x), functional_call(Tied(), expected, (x,), strict=True))
    assert tensors["calls"] == expected["calls"] == 1


@pytest.mark.parametrize("rows", [4, 5])
def test_template_is_left_as_it_was(network: StackedNetwork, rows: int) -> None:
    before = dict(network.template.state_dict(keep_vars=True))
    tensors = {name: value[0] for name, value in (network.parameters | network.buffers).items()}
    if rows > 4:
        with pytest.raises(ValueError, match="too many"):
            BoundNetwork(network, tensors)(torch.zeros(rows, 3))
    else:
        BoundNetwork(network, tensors)(torch.zeros(rows, 3))
    after = network.template.state_dict(keep_vars=True)
    assert all(after[name] is value for name, value in before.items())


def test_a_missing_tensor_is_an_error(network: StackedNetwork) -> None:
    tensors = {name: value[0] for name, value in network.parameters.items()}
    with pytest.raises(KeyError, match="calls"):
        BoundNetwork(network, tensors)(torch.zeros(1, 3))
