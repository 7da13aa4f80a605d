"""The tried layers train, begin as convolutions where they say so, and choose as described."""

import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import nn

from convnn.nn import LAYERS, ConvNNPos2d
from fences import ROOT


@pytest.fixture(scope="module")
def trials() -> Iterator[ModuleType]:
    """Import the file, whose layers are registered only for these tests."""
    before = dict(LAYERS)
    spec = importlib.util.spec_from_file_location("trials", ROOT / "studies" / "trials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    LAYERS.clear()
    LAYERS.update(before)


def test_every_trial_keeps_the_map_and_has_gradients(trials: ModuleType) -> None:
    x = torch.randn(2, 8, 6, 5)
    for name, (make, _) in trials.TRIALS.items():
        layer = make(8, 9)
        y = layer(x)
        assert y.shape == (2, 9, 6, 5), name
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters()), name


def test_all_but_those_of_another_K_have_the_kernel_of_a_convolution(trials: ModuleType) -> None:
    for name, (make, _) in trials.TRIALS.items():
        kernels = {key: p for key, p in make(16, 12).named_parameters() if p.dim() > 2 and key != "gate"}
        assert name.endswith("K") or sum(p.numel() for p in kernels.values()) == 12 * 16 * 9, name


@pytest.mark.parametrize("name", ["Gated", "GatedUnlike", "GatedFixed", "Far", "FarMax", "FarProjected", "FarAll"])
def test_a_closed_gate_leaves_the_convolution(trials: ModuleType, name: str) -> None:
    layer, x = trials.TRIALS[name][0](3, 4).double(), torch.randn(2, 3, 9, 7, dtype=torch.double)
    torch.testing.assert_close(layer(x), layer.conv(x), rtol=0, atol=1e-12)
    with torch.no_grad():
        layer.gate.fill_(0.5)
    assert (layer(x) - layer.conv(x)).abs().max() > 1e-2


def test_a_head_start_that_nothing_can_catch_up_leaves_the_convolution(trials: ModuleType) -> None:
    layer, x = trials.Placed(3, 4).double(), torch.randn(2, 3, 9, 7, dtype=torch.double)
    with torch.no_grad():
        layer.head_start.fill_(60.0)
    weight = layer.kernel.weight.unflatten(2, (3, 3))
    expected = nn.functional.conv2d(x, weight, layer.kernel.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", [lambda t: t.Gated(3, 4), lambda t: t.Soft(3, 4)], ids=["open gates", "cold softmax"])
def test_the_choice_is_that_of_the_layer_that_is_shipped(trials: ModuleType, make: Callable) -> None:
    layer = make(trials).double()
    is_gated = isinstance(layer, trials.Gated)
    metric = "cosine" if is_gated else "matmul"
    kernel = layer.conv if is_gated else layer.kernel
    shipped = ConvNNPos2d(3, 4, choosing=1.0, metric=metric).double()
    with torch.no_grad():
        layer.gate.fill_(1.0) if is_gated else layer.warmth.fill_(12.0)  # its exponential
        shipped.weight.copy_(kernel.weight.reshape(4, 3, 3, 3))
        shipped.bias.copy_(kernel.bias)
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    inside = (..., slice(2, -2), slice(2, -2))  # at the border the shipped one leaves out the zeros of the padding
    torch.testing.assert_close(layer(x)[inside], shipped(x)[inside], rtol=0, atol=1e-9)


def test_far_is_the_mean_of_the_most_similar_others(trials: ModuleType) -> None:
    layer, rows = trials.Far(5, 4, K=3), torch.randn(2, 12, 5)
    cosines = nn.functional.cosine_similarity(rows[:, :, None], rows[:, None], dim=-1)
    cosines.diagonal(dim1=1, dim2=2).fill_(-2)
    best = cosines.topk(3).indices
    expected = torch.stack([image[one] for image, one in zip(rows, best, strict=True)]).mean(2) - rows
    torch.testing.assert_close(layer.far(rows), expected)
