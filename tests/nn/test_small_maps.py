"""Tests that layers compute on maps of a few positions, or raise an error of one sentence."""

from itertools import product

import pytest
import torch

from convnn import nn as cnn
from convnn.errors import InputError, UnsupportedError
from convnn.nn import LAYERS, list_layers
from convnn.nn.replace import kept_settings
from kernel_layers import KERNELS
from pairwise import one_in

SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1))
OURS = [name for name in list_layers("maps") if name != "Conv2d"]  # this is torch's layer
FEW: dict[str, int] = {"K": 1, "kernel_size": 1, "step": 1}
"""Settings with which a layer needs fewer positions, where it has them."""


def computes(layer: torch.nn.Module, size: tuple[int, int]) -> bool:
    x = torch.randn(2, 3, *size, requires_grad=True)
    try:
        out = layer(x)
    except (InputError, UnsupportedError):
        return False
    assert out.shape[:2] == (2, 5)
    assert out.isfinite().all()
    out.sum().backward()
    assert x.grad.isfinite().all()
    return True


@pytest.mark.parametrize("name", one_in(2, OURS))
def test_a_small_map_is_computed_or_refused_in_a_sentence(name: str) -> None:
    build, known = LAYERS[name].build, LAYERS[name].settings
    without = set() if "kernel_size" in kept_settings(name) else {"kernel_size"}  # of kernels larger than any map
    few = {setting: value for setting, value in FEW.items() if setting in known and setting not in without}
    computed = 0
    for settings, padding, stride in product(({}, few), (0, 1), (1, 2)):
        layer = build(3, 5, padding=padding, stride=stride, **KERNELS.get(name, {}) | settings)
        computed += sum(computes(layer, size) for size in SIZES)
    assert computed >= len(SIZES), "some of them can be computed"


KERNEL = r"^kernel_size=\(3, 3\) with dilation=\(1, 1\) does not fit the \(2, 2\) map with padding="


@pytest.mark.parametrize(
    "layer",
    [
        cnn.ConvNNPos2d(2, 2, padding=0),
        cnn.ConvNNPos2d(2, 2, padding=0, choosing=1),
        cnn.ConvNNPos2d(2, 2, padding=0, choosing=0),
        cnn.Conv2dNew(2, 2, padding=0),
        cnn.Conv2dNew(2, 2, padding=0, padding_mode="reflect"),
        cnn.Branching2d.with_convnn(2, 2, K=1, padding=0, window_size=1),
        cnn.Branching2d.with_attention(2, 2, K=1, padding=0, window_size=1),
        cnn.Branching2d(2, 2, branch_ratio=0, branch2=lambda i, o: torch.nn.Conv2d(i, o, 3, padding="valid")),
    ],
    ids=["pos", "pos-choosing", "pos-looking", "conv-new", "conv-new-reflect", "branching", "attention", "valid"],
)
def test_a_kernel_that_does_not_fit_is_named(layer: torch.nn.Module) -> None:
    with pytest.raises(InputError, match=KERNEL):
        layer(torch.zeros(1, 2, 2, 2))


def test_padding_that_a_convolution_cannot_continue_is_named() -> None:
    layer = cnn.Branching2d.with_convnn(2, 2, K=1, padding=0, padding_mode="reflect", kernel_size=5)
    with pytest.raises(InputError, match="padding='same' with padding_mode='reflect' is too wide for a map of"):
        layer(torch.zeros(1, 2, 2, 2))
