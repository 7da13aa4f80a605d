"""Kernels of pixels: against convolutions and PyTorch's attention, the choice of cells, and what they refuse."""

import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import KernelPrediction, PixelKernels2d, SelectiveCorrelationFusion, pixel_kernel_conv


@pytest.mark.parametrize(("kernel_size", "groups"), [(1, 1), (3, 2), (5, 4)])
def test_constant_kernels_are_a_depthwise_convolution(kernel_size: int, groups: int) -> None:
    x = torch.randn(2, 4, 3, 4, dtype=torch.double, requires_grad=True)
    kernel = torch.randn(groups, kernel_size**2, dtype=torch.double, requires_grad=True)
    found = pixel_kernel_conv(x, kernel.view(1, -1, 1, 1).expand(2, -1, 3, 4), kernel_size)
    weight = kernel.repeat_interleave(4 // groups, 0).view(4, 1, kernel_size, kernel_size)
    wanted = F.conv2d(x, weight, padding=kernel_size // 2, groups=4)
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad(y, (x, kernel), upstream) for y in (found, wanted))
    torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def _best(query: torch.Tensor, keys: torch.Tensor, cells: list[int], top: int) -> list[int]:
    """Return the cells that the query scores highest, all if `top` is 0."""
    return sorted(cells, key=lambda cell: -float(query @ keys[cell]))[: top or None]


def _fusion(top: int) -> tuple[SelectiveCorrelationFusion, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    fuse = SelectiveCorrelationFusion(4, 3, top).double()
    return fuse, torch.randn(2, 4, 3, 5, dtype=torch.double), torch.randn(2, 4, 2, 4, dtype=torch.double)


@pytest.mark.parametrize("top", [0, 1, 3, 8, 20])
def test_fusion_is_the_attention_of_pytorch_with_a_mask(top: int) -> None:
    fuse, x, reference = _fusion(top)
    background = torch.rand(2, 2, 4) < 0.7
    q, k, v = (f(m).flatten(2).mT for f, m in ((fuse.query, x), (fuse.key, reference), (fuse.value, reference)))
    allowed = torch.zeros(2, 15, 8, dtype=torch.bool)
    for b in range(2):
        cells = background[b].flatten().nonzero().flatten().tolist()
        for i in range(15):
            allowed[b, i, _best(q[b, i], k[b], cells, top)] = True
    found = F.scaled_dot_product_attention(q, k, v, allowed).mT.unflatten(2, (3, 5))
    torch.testing.assert_close(fuse(x, reference, background), x + fuse.output(found))


@pytest.mark.parametrize("top", [0, 2])
def test_without_background_nothing_is_added_but_the_bias(top: int) -> None:
    fuse, x, reference = _fusion(top)
    background = torch.ones(2, 2, 4)
    background[0] = 0
    found = fuse(x, reference.requires_grad_(), background)
    torch.testing.assert_close(found[0], x[0] + fuse.output.bias.view(-1, 1, 1))
    found.sum().backward()
    assert (reference.grad[0] == 0).all()
    assert reference.grad[1].isfinite().all()
    assert all(one.grad.isfinite().all() for one in fuse.parameters())


def test_all_cells_that_tie_with_the_last_are_kept() -> None:
    fuse, x, reference = _fusion(2)
    same = reference[:, :, :1, :1].expand(-1, -1, 2, 4)
    every = SelectiveCorrelationFusion(4, 3, 0).double()
    every.load_state_dict(fuse.state_dict())
    background = torch.ones(2, 2, 4)
    torch.testing.assert_close(fuse(x, same, background), every(x, same, background))


def test_zero_weights_copy_and_the_background_stays() -> None:
    layer = PixelKernels2d(4, 3, groups=2)
    x, reference, background = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 2, 3), torch.ones(2, 2, 3)
    mask = (torch.rand(2, 1, 5, 6) < 0.5).float()
    changed = layer(x, reference, mask, background)
    assert torch.equal(changed[(mask == 0).expand_as(x)], x[(mask == 0).expand_as(x)])
    assert not torch.allclose(changed, x)
    torch.nn.init.zeros_(layer.predict.kernels.weight)
    torch.testing.assert_close(layer(x, reference, mask, background), x)


def test_the_number_of_parameters_is_that_of_the_definition() -> None:
    channels, dim, groups, places = 6, 5, 3, 25
    layer = PixelKernels2d(channels, dim, groups=groups, kernel_size=5)
    fusion = 2 * (channels * dim + dim) + 2 * (channels**2 + channels)
    prediction = 9 * channels**2 + channels + channels * groups * places + groups * places
    assert sum(one.numel() for one in layer.parameters()) == fusion + prediction


GIVEN = {
    "x": torch.ones(2, 4, 5, 6),
    "reference": torch.ones(2, 4, 2, 3),
    "mask": torch.ones(2, 1, 5, 6),
    "background": torch.ones(2, 2, 3),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.full((2, 1, 5, 6), 1.5)}, "mask of shape (2, 1, 5, 6) must be (2, 1, 5, 6) with values from 0"),
        ({"mask": torch.ones(2, 5, 6)}, "mask of shape (2, 5, 6) must be (2, 1, 5, 6)"),
        ({"background": torch.ones(2, 3, 2)}, "background of shape (2, 3, 2) must be (2, h, w) for reference of shape"),
    ],
    ids=range(3),
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        PixelKernels2d(4, 3)(**GIVEN | change)


def test_bad_kernels_and_settings_are_refused() -> None:
    x = torch.ones(1, 4, 3, 3)
    for shape in ((1, 8, 3, 3), (1, 27, 3, 3), (1, 9, 3, 4), (9, 3, 3)):
        with pytest.raises(InputError, match=re.escape(f"kernels of shape {shape} must be (1, G * 9, 3, 3), for G")):
            pixel_kernel_conv(x, torch.ones(shape), 3)
    with pytest.raises(InputError, match=r"^kernel_size=2 must be odd"):
        pixel_kernel_conv(x, torch.ones(1, 4, 3, 3), 2)
    with pytest.raises(InputError, match=r"^kernel_size=4 must be odd"):
        KernelPrediction(4, 1, 4)
    with pytest.raises(InputError, match=r"^top=-1 must be an integer of at least 0$"):
        SelectiveCorrelationFusion(4, 3, -1)
    with pytest.raises(InputError, match=r"^channels=4 must be a multiple of groups=3$"):
        PixelKernels2d(4, 3, groups=3)
