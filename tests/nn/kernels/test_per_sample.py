"""Tests of kernels that every sample has for itself, and of kernels in the frequency domain."""

import itertools
import re

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import Grid
from convnn.nn.kernels import frequency_bands as frequency_bands_module
from convnn.nn.kernels import per_sample as per_sample_module
from convnn.nn.kernels.frequency_bands import FrequencyBands, band_filters, low_passes
from convnn.nn.kernels.per_sample import (
    _by_taps,
    _in_groups,
    _mixed_outputs,
    _one_by_one,
    _padded,
    _should_mix_outputs,
    by_windows,
    mixed,
    mixture,
    per_sample,
)
from convnn.nn.kernels.spectrum import frequency_groups, group_weights, spectrum_of, transformed, weights_of

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
GRIDS = [
    Grid(3, 1, 1),
    Grid(3, 2, "same"),
    Grid(3, 1, 2, 2, "circular"),
    Grid(2, (2, 1), 0),
    Grid((3, 1), 1, "same"),
]


def doubles(*size: int) -> torch.Tensor:
    return torch.randn(*size, dtype=torch.double, generator=torch.Generator().manual_seed(sum(size)))


@pytest.mark.parametrize(("grid", "groups"), list(zip(GRIDS, (1, 2, 1, 4, 2), strict=True)))
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_every_form_is_a_convolution_of_each_sample(grid: Grid, groups: int, batch: int) -> None:
    sides = grid.window_size if isinstance(grid.window_size, tuple) else (grid.window_size,) * 2
    x, weight, bias = doubles(batch, 4, 7, 5), doubles(batch, 8, 4 // groups, *sides), doubles(batch, 8)
    padded = grid.pad(x)
    one = [F.conv2d(padded[i : i + 1], weight[i], bias[i], grid.stride, 0, grid.dilation, groups) for i in range(batch)]
    expected = torch.cat(one) if one else per_sample(x, weight, bias, grid=grid)
    place, geometry = _padded(x, grid)
    forms = [per_sample(x, weight, bias, grid=grid), _by_taps(x, weight, bias, grid)] if batch else []
    forms += [form(place, weight, bias, *geometry) for form in (_in_groups, _one_by_one)] if batch else []
    forms += [by_windows(x, weight.movedim(2, 4), grid=grid) + bias[:, :, None, None]] if batch and groups == 1 else []
    for found in forms:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.shape[:2] == (batch, 8)


@pytest.mark.parametrize("axes", [1, 3])
def test_one_and_three_axes(axes: int) -> None:
    x, weight = doubles(2, 3, *(6, 5, 4)[:axes]), doubles(2, 4, 3, *(3,) * axes)
    expected = torch.cat([CONVOLVE[axes](x[i : i + 1], weight[i], padding=1) for i in range(2)])
    for form in (per_sample, lambda *given, grid: _by_taps(*given, None, grid)):
        torch.testing.assert_close(form(x, weight, grid=Grid(3)), expected, rtol=0, atol=1e-12)


def test_the_mixture_and_its_gradients() -> None:
    shares, kernels = doubles(2, 3).requires_grad_(), doubles(3, 4, 2, 1, 3).requires_grad_()
    expected = sum(shares[:, e, None, None, None, None] * kernels[e] for e in range(3))
    torch.testing.assert_close(mixed(shares, kernels), expected, rtol=0, atol=1e-12)
    x = doubles(2, 2, 3, 4).requires_grad_()
    of_all = lambda r, w, x: per_sample(x, mixed(r, w), grid=Grid((1, 3), padding="same"))  # noqa: E731
    assert torch.autograd.gradcheck(of_all, (shares, kernels, x), fast_mode=True)


@pytest.mark.parametrize(("grid", "groups"), list(zip(GRIDS, (1, 2, 1, 3, 2), strict=True)))
def test_mixed_outputs_are_those_of_mixed_kernels_with_the_same_gradients(grid: Grid, groups: int) -> None:
    sides = grid.window_size if isinstance(grid.window_size, tuple) else (grid.window_size,) * 2
    leaves = doubles(5, 6, 7, 5), doubles(5, 3), doubles(3, 12, 6 // groups, *sides)
    leaves = tuple(leaf.requires_grad_() for leaf in leaves)
    x, shares, kernels = leaves
    outputs = [per_sample(x, mixed(shares, kernels), grid=grid), _mixed_outputs(x, shares, kernels, grid)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-10)
    found = [torch.autograd.grad((out * doubles(*out.shape)).sum(), leaves) for out in outputs]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "batch", "expected"),
    [
        ((8,), 4, True),
        ((43,), 4, False),
        ((3, 5), 4, True),
        ((7, 7), 4, False),
        ((3, 2, 3), 4, True),
        ((4, 4), 3, False),
    ],
)
def test_outputs_are_mixed_where_maps_are_small_and_samples_many(
    size: tuple[int, ...], batch: int, expected: bool
) -> None:
    x, shares, kernels, biases = (
        doubles(batch, 4, *size),
        doubles(batch, 3),
        doubles(3, 6, 2, *[3] * len(size)),
        doubles(3, 6),
    )
    grid = Grid((3,) * len(size), padding="same")
    assert _should_mix_outputs(x, kernels, grid) == expected
    weights = mixed(shares, kernels)
    one = [CONVOLVE[len(size)](x[i : i + 1], weights[i], padding=1, groups=2) for i in range(batch)]
    bias = mixed(shares, biases).view(batch, 6, *[1] * len(size))
    torch.testing.assert_close(mixture(x, shares, kernels, biases, grid=grid), torch.cat(one) + bias)


def test_large_kernels_are_mixed_for_a_few_samples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = doubles(5, 4, 7, 9), doubles(5, 3), doubles(3, 6, 2, 3, 3), doubles(3, 6)
    leaves = tuple(leaf.requires_grad_() for leaf in leaves)
    found = []
    for at_once in (2**24, 2 * leaves[2][0].nbytes, 1):
        monkeypatch.setattr(per_sample_module, "AT_ONCE", at_once)
        out = mixture(*leaves, grid=Grid(3, 2, "same"))
        found.append((out, *torch.autograd.grad((out * doubles(*out.shape)).sum(), leaves)))
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=0, atol=1e-10)


def test_kernels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"^kernel_size=\(3, 3\) .* does not fit the \(2, 2\) map"):
        per_sample(doubles(1, 1, 2, 2), doubles(1, 1, 1, 3, 3), grid=Grid(3, padding=0))


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (2, 4, 1, 1), (3, 5, 3, 3)])
def test_a_spectrum_is_that_of_the_weight_as_one_image(shape: tuple[int, ...]) -> None:
    weight = doubles(*shape)
    out, inside, side = shape[:3]
    image = torch.zeros(out * side, inside * side, dtype=torch.double)
    for o, c, i, j in itertools.product(*map(range, shape)):
        image[o * side + i, c * side + j] = weight[o, c, i, j]
    down, right = torch.arange(out * side).double(), torch.arange(inside * side).double()
    waves = [torch.exp(-2j * torch.pi * torch.outer(n, n) / len(n)) for n in (down, right)]
    expected = (waves[0] @ image.to(torch.cdouble) @ waves[1])[:, : inside * side // 2 + 1]
    found = spectrum_of(weight)
    torch.testing.assert_close(torch.view_as_complex(found), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights_of(found[None], inside, side)[0], weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rows", "columns", "number"), [(24, 12, 4), (9, 15, 3), (8, 8, 10)])
def test_groups_are_disjoint_of_equal_size_and_sorted_by_frequency(rows: int, columns: int, number: int) -> None:
    groups = frequency_groups(rows, columns, number)
    assert groups.unique(return_counts=True)[1].tolist() == [rows * (columns // 2 + 1) // number] * number
    distance = torch.fft.fftfreq(rows).double().unsqueeze(1).hypot(torch.fft.rfftfreq(columns).double())
    for group in range(1, number):
        assert distance[groups == group - 1].max() <= distance[groups == group].min() + 1e-7
    with pytest.raises(InputError, match=r"^frequency_groups=11 must divide the [\d,]+ frequencies of a kernel"):
        frequency_groups(rows, columns, 11)


def test_transformed_and_sums_of_group_weights_weigh_each_coefficient() -> None:
    spectra = torch.stack([spectrum_of(doubles(4, 3, 3, 3)), spectrum_of(doubles(4, 3, 3, 3).flip(0))])
    groups = frequency_groups(12, 9, 3).expand(2, -1, -1)
    shares = doubles(5, 2, 3)
    found = transformed(spectra, groups, shares, 3, 3)
    summed = mixed(shares.flatten(1), group_weights(spectra, groups, 3, 3, 3))
    torch.testing.assert_close(found, summed, rtol=0, atol=1e-12)
    for one, of_sample in zip(found, shares, strict=True):
        total = sum(of_sample[r][groups[r]].unsqueeze(-1) * spectra[r] for r in range(2))
        torch.testing.assert_close(one.movedim(3, 1), weights_of(total[None], 3, 3)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (14, 28), (9, 13), (1, 5), (80, 33)])
def test_low_passes_are_those_of_the_resized_masks(size: tuple[int, int]) -> None:
    x = doubles(2, 3, *size)
    high = torch.maximum(
        torch.fft.fftfreq(64, dtype=torch.double).abs()[:, None], torch.fft.rfftfreq(64, dtype=torch.double)
    )
    for divisor, found in zip((2, 3, 8), low_passes(x, band_filters(*size, (2, 3, 8))), strict=True):
        mask = (high < 0.5 / divisor + 1e-8).double()[None, None]
        mask = F.interpolate(mask, size=(size[0], size[1] // 2 + 1), mode="nearest")[0, 0]
        expected = torch.fft.irfft2(torch.fft.rfft2(x) * mask, s=size)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2**21, 2000])
def test_bands_add_up_to_the_map_and_are_weighted_by_position(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All maps at once, and one by one; a map has 1,536 bytes."""
    monkeypatch.setattr(frequency_bands_module, "AT_ONCE", size)
    bands = FrequencyBands(4, (2, 4), groups=2, gate="tanh", weigh_lowest=True).double()
    torch.nn.init.zeros_(bands.gates.weight)
    x = doubles(2, 4, 8, 6)
    torch.testing.assert_close(bands(x), x, rtol=0, atol=1e-12)
    torch.nn.init.normal_(bands.gates.weight)
    factors = (1 + bands.gates(x).tanh()).unflatten(1, (2, 3)).repeat_interleave(2, 1)  # a channel for each
    lows = [x, *low_passes(x, band_filters(8, 6, (2, 4))), torch.zeros_like(x)]
    expected = sum(factors[:, :, i] * (lows[i] - lows[i + 1]) for i in range(3))
    torch.testing.assert_close(bands(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"divisors": ()}, "divisors=() must be at least one number"),
        ({"divisors": (4, 2)}, "divisors=(4, 2) must be at least one number, in increasing order"),
        ({"gate": "softmax"}, "gate='softmax' is not one of sigmoid, tanh"),
        ({"kernel_size": 2}, "kernel_size=2 must be odd"),
        ({"groups": 3}, "groups=3 must divide"),
    ],
)
def test_bands_refuse(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        FrequencyBands(4, **settings)
