"""Long convolutions: directly, by FFT and by butterfly matrices, against loops."""

import re
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from convnn.errors import InputError
from convnn.nn import Targets, convolve
from convnn.nn.generated import butterfly
from convnn.nn.generated.convolve import fast_length, is_faster_by_fft
from pairwise import cover_of

WAYS = ("never", "always", "butterfly")


def signals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def by_loops(x: Tensor, kernel: Tensor, bias: Tensor, before: int, target: Targets, dilation: int, groups: int):
    """Return the definition on signals, tap by tap."""
    outputs, per_group, taps = kernel.shape
    padded = np.zeros((*x.shape[:2], 3000))
    padded[..., 1000 : 1000 + x.shape[2]] = x
    out = np.zeros((x.shape[0], outputs, target.positions)) + bias.numpy()[:, None]
    for o, j, k in product(range(outputs), range(target.positions), range(taps)):
        first = o // (outputs // groups) * per_group
        at = 1000 + target.first + j * target.stride + (k - before) * dilation
        out[:, o, j] += padded[:, first : first + per_group, at] @ kernel[o, :, k].numpy()
    return torch.from_numpy(out)


AXES = {
    "length": [1, 2, 7, 16, 31],
    "taps": [(1, 0), (2, 1), (5, 2), (5, 4), (9, 0), (40, 20), (63, 62)],
    "geometry": [(1, 1), (2, 1), (1, 3), (3, 2)],
    "groups": [1, 2, 4],
    "first": [0, 1],
}


@pytest.mark.parametrize("case", cover_of([dict(zip(AXES, v, strict=True)) for v in product(*AXES.values())], 2))
def test_every_way_is_the_definition(case: dict) -> None:
    length, (taps, before), (stride, dilation) = case["length"], case["taps"], case["geometry"]
    x, bias = signals(2, 4, length), signals(8, seed=1)
    kernel = signals(8, 4 // case["groups"], taps, seed=2)
    first = min(case["first"], length - 1)
    target = Targets(first, (length - 1 - first) // stride + 1, stride)
    expected = by_loops(x, kernel, bias, before, target, dilation, case["groups"])
    of_all = {"before": before, "targets": [target], "dilation": dilation, "groups": case["groups"]}
    for use_fft in WAYS:
        out = convolve(x, kernel, bias, **of_all, use_fft=use_fft)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "taps"), [((5, 9), (3, 7)), ((4, 3), (7, 5)), ((3, 4, 2), (3, 1, 3))])
def test_maps_of_several_axes_are_those_of_torch(size: tuple[int, ...], taps: tuple[int, ...]) -> None:
    x, kernel = signals(2, 3, *size), signals(4, 3, *taps, seed=1)
    torchs = (nn.functional.conv2d, nn.functional.conv3d)[len(size) - 2]
    half = tuple(k // 2 for k in taps)
    for use_fft in WAYS:
        out = convolve(x, kernel, before=half, use_fft=use_fft)
        torch.testing.assert_close(out, torchs(x, kernel, padding=half), rtol=0, atol=1e-10)


@pytest.mark.parametrize("use_fft", WAYS)
def test_gradients(use_fft: str) -> None:
    x, kernel = signals(2, 2, 5).requires_grad_(), signals(3, 2, 4, seed=1).requires_grad_()
    assert gradcheck(lambda x, k: convolve(x, k, before=2, use_fft=use_fft), (x, kernel), fast_mode=True)


def test_blocks_of_channels_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel = signals(2, 5, 30), signals(10, 1, 20, seed=1)
    whole = convolve(x, kernel, before=19, groups=5, use_fft="always")
    for block in (1, 200):  # one channel, and two
        monkeypatch.setattr("convnn.nn.generated.convolve.BLOCK", block)
        in_blocks = convolve(x, kernel, before=19, groups=5, use_fft="always")
        torch.testing.assert_close(in_blocks, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 31, 33, 97, 360, 1021, 1024])
def test_butterflies_are_the_transform_of_torch(length: int) -> None:
    x = torch.complex(signals(2, length), signals(2, length, seed=1))
    torch.testing.assert_close(butterfly.fft(x), torch.fft.fft(x), rtol=0, atol=1e-10)


def test_fast_lengths_have_small_factors() -> None:
    for n in range(1, 400):
        fast = fast_length(n)
        rest = fast
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert n <= fast <= 2 * n
        assert (rest, fast % 2) == (1, 0)


def test_the_way_follows_from_the_cost() -> None:
    def fast(length: int, taps: int) -> bool:
        return is_faster_by_fft((8, 16, length), (16, 1, taps), [Targets(0, length)], 16)

    assert not fast(4096, 7)
    assert fast(4096, 4096)
    assert not fast(16, 16)


def test_halves_are_transformed_in_float32() -> None:
    x, kernel = signals(2, 3, 50), signals(4, 3, 40, seed=1)
    exact = convolve(x, kernel, before=39)
    for dtype in (torch.bfloat16, torch.float16):
        out = convolve(x.to(dtype), kernel.float(), before=39, use_fft="always")
        assert out.dtype == dtype
        assert (out.double() - exact).abs().max() < 0.02 * exact.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = convolve(x.float(), kernel.float(), before=39, use_fft="always")
    assert out.dtype == torch.bfloat16  # as a convolution's
    assert (out.double() - exact).abs().max() < 0.01 * exact.abs().max()


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((2, 3, 9), {}, "input of shape (2, 3, 9) must have 4 channels and 1 further axes"),
        ((2, 4, 9, 9), {}, "input of shape (2, 4, 9, 9) must have 4 channels"),
        ((2, 4, 9), {"use_fft": "sometimes"}, "use_fft='sometimes' is not one of auto, never, always, butterfly"),
        ((2, 4, 9), {"before": (1, 1)}, "before=(1, 1) must be one number, or 1"),
    ],
)
def test_refuses(shape: tuple[int, ...], settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        convolve(torch.zeros(shape), torch.zeros(4, 4, 3), **{"before": 1} | settings)
