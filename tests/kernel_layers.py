"""What every layer of kernels must do: compute the positions of any convolution, train, and merge."""

import copy
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.nn.kernels.convolution import BATCH_NORMS

KERNELS = {
    "RepLK": {"kernel_size": 7},
    "UniRepLK": {"kernel_size": 7},
    "InceptionDW": {"branch_ratio": 1 / 3},
    "MultiKernelDW": {},
    "LKA": {"kernel_size": 7, "kernel_dilation": 2},
    "LSK": {},
    "RecConv": {"level": 1},
    "SDLSKA": {"kernel_size": 7},
    "SuperKernel": {"k_conv": "1,5"},
    "ShiftWise": {"big_kernel": 7},
    "LKCA": {"kernel_size": 7},
    "CKConv": {"horizon": 5, "no_hidden": 8},
    "SMPConv": {"horizon": 5, "n_points": 4},
    "FlexConv": {"horizon": 7, "no_hidden": 4, "mask_init_value": 0.3},
    "CCNNConv": {"horizon": 7, "omega_0": 30.0, "no_hidden": 4, "mask_init_value": 0.3},
    "SGConv": {"l_max": 64, "kernel_dim": 4},
    "LongConv": {"l_max": 64},
}
"""Layers of kernels, with settings for small maps and few channels."""
GEOMETRIES = [
    {"stride": 2},
    {"window_size": 3, "stride": 2, "padding": 1},
    {"window_size": 3},
    {"window_size": 4, "stride": 4},
    {"window_size": 3, "padding": 2, "dilation": 2, "stride": 3},
]


def with_statistics(model: nn.Module) -> nn.Module:
    """Give batch normalisation other statistics than the initial ones, in evaluation mode and float64."""
    generator = torch.Generator().manual_seed(5)
    for part in model.modules():
        if isinstance(part, BATCH_NORMS):
            for tensor in (part.running_mean, part.weight.data, part.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return model.double().eval()


def maps(channels: int, *size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def check_merged(model: nn.Module, x: Tensor, tolerance: float = 1e-12) -> cnn.MergeReport:
    """Check that the merged form of a model computes the same, and return the report."""
    report = cnn.merge(with_statistics(model))
    torch.testing.assert_close(report.model(x), model(x), rtol=0, atol=tolerance)
    assert report.merged
    return report


def check_positions(build: Callable[..., nn.Module], axes: int = 2) -> None:
    """Check that a layer in the place of a convolution computes the middles of its windows, as it does elsewhere."""
    everywhere = with_statistics(build(3, 4))
    for geometry in GEOMETRIES:
        layer = with_statistics(build(3, 4, **geometry))
        layer.load_state_dict(everywhere.state_dict())
        x = maps(3, *(9, 8, 7)[:axes])
        window, stride = geometry.get("window_size", 1), geometry.get("stride", 1)
        padding, apart = geometry.get("padding", 0), geometry.get("dilation", 1)
        counts = [(n + 2 * padding - apart * (window - 1) - 1) // stride + 1 for n in x.shape[2:]]
        first = apart * ((window - 1) // 2) - padding
        expected = everywhere(x)
        for axis, count in enumerate(counts, 2):
            expected = expected.index_select(axis, first + stride * torch.arange(count))
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def check_trains(layer: nn.Module, x: Tensor, idle: str = "") -> None:
    """Check that training changes every parameter, except those whose names match `idle`, and lowers the loss."""
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).to(x.dtype).train()
    target = torch.randn_like(layer(x))
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    losses = []
    for _ in range(3):
        loss = nn.functional.mse_loss(layer(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    same = [name for name, value in layer.named_parameters() if torch.equal(value, before[name])]
    assert not [name for name in same if not re.search(idle or "$^", name)]
