"""Kernels as functions of the offset, against definitions in numpy and scipy."""

import re

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from torch import Tensor
from torch.autograd import gradcheck

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.kernels.pyramid import PyramidKernel

MADE = {
    "siren": lambda: cnn.SirenKernel(2, 3, 2, no_hidden=4, omega_0=5.0),
    "normed": lambda: cnn.SirenKernel(2, 3, 2, no_hidden=4, weight_norm=True, omega_0=2.0),
    "swish": lambda: cnn.SirenKernel(2, 3, 2, no_hidden=4, activation="Swish", norm="LayerNorm"),
    "points": lambda: cnn.PointKernel(2, 3, 2, n_points=4, radius=0.9, coord_std=0.5),
    "shared": lambda: cnn.PointKernel(2, 3, 2, n_points=4, radius=0.9, coord_std=0.5, shared=True),
    "gabor": lambda: cnn.GaborKernel(2, 3, 2, no_hidden=4, no_layers=2, input_scale=3.0),
    "masked": lambda: cnn.MaskedKernel(cnn.SirenKernel(2, 3, 2, no_hidden=4), cnn.GaussianMask(2, 0.5)),
}


def some(name: str) -> cnn.KernelFunction:
    torch.manual_seed(0)
    return MADE[name]().double()


def offsets(*shape: int) -> Tensor:
    return torch.rand(*shape, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


@pytest.mark.parametrize("name", MADE)
def test_a_value_depends_on_its_offset_alone(name: str) -> None:
    kernel, places = some(name), offsets(3, 5)
    values = kernel(places)
    assert values.shape == (3, 2, 3, 5)
    if name != "swish":  # normalised over the offsets
        torch.testing.assert_close(values[:, :, 1, 2], kernel(places[1:2, 2])[..., 0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", MADE)
def test_gradients(name: str) -> None:
    kernel, places = some(name), offsets(5)
    names, values = zip(*kernel.named_parameters(), strict=True)

    def of(*given: Tensor) -> Tensor:
        return torch.func.functional_call(kernel, dict(zip(names, given, strict=True)), (places,))

    assert gradcheck(of, tuple(value.detach().clone().requires_grad_() for value in values), fast_mode=True)


def test_a_siren_is_sines_of_linear_maps() -> None:
    kernel, places = some("siren"), offsets(7)
    h = places.numpy()
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in kernel.layers]
    for weight, bias in weights[:-1]:
        h = np.sin(5.0 * (h @ weight.T + bias))
    expected = (h @ weights[-1][0].T + weights[-1][1]).T.reshape(3, 2, 7)
    np.testing.assert_allclose(kernel(places).detach().numpy(), expected, rtol=0, atol=1e-13)


def test_points_on_a_grid_interpolate_linearly() -> None:
    """With radii of the distance of the points, the kernel on one axis is scipy's interpolation."""
    nodes = np.linspace(-1, 1, 6)
    kernel = cnn.PointKernel(1, 1, 2, n_points=6, radius=0.4, shared=True, dtype=torch.double)
    with torch.no_grad():
        kernel.places.copy_(torch.from_numpy(nodes).view(1, 6, 1))
    at = torch.linspace(-1, 1, 41, dtype=torch.double)
    between = interp1d(nodes, kernel.weights.detach().numpy())(at.numpy())
    np.testing.assert_allclose(kernel(at.unsqueeze(1)).detach().numpy(), between, rtol=0, atol=1e-14)


def test_points_of_an_output_are_averaged() -> None:
    kernel = some("points")
    for q, value in zip(offsets(20), kernel(offsets(20)).unbind(-1), strict=True):
        near = 1 - (q - kernel.places).abs().sum(-1) / kernel.radius
        tents, count = near.clamp(min=0), (near > 0).double().sum(-1)
        expected = torch.stack([kernel.weights[o] @ tents[o] / (count[o] + 1e-6) for o in range(3)])
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


def test_radii_below_the_least_have_a_way_back() -> None:
    kernel = some("points")
    with torch.no_grad():
        kernel.radius.fill_(-1.0)
        kernel.places.fill_(0.0)
    kernel(torch.full((1, 2), 2e-5, dtype=torch.double)).sum().backward()
    assert kernel.radius.grad.abs().min() > 0
    kernel.clip()
    assert (kernel.radius == 1e-4).all()


def test_gabor_filters_multiply() -> None:
    kernel, places = some("gabor"), offsets(7)
    at = places.numpy()
    z = None
    for number, one in enumerate(kernel.filters):
        mu, gamma, w, b = (t.detach().numpy() for t in (one.mu, one.gamma, one.linear.weight, one.linear.bias))
        g = np.exp(-0.5 * ((gamma * (at[:, None] - mu)) ** 2).sum(-1)) * np.sin(at @ w.T + b)
        if z is None:
            z = g
        else:
            linear = kernel.linears[number - 1]
            z = g * (z @ linear.weight.detach().numpy().T + linear.bias.detach().numpy())
    last = kernel.output
    expected = (z @ last.weight.detach().numpy().T + last.bias.detach().numpy()).T.reshape(3, 2, 7)
    np.testing.assert_allclose(kernel(places).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_frequencies_bound_the_filters() -> None:
    kernel = some("gabor")
    one = kernel.filters[1]
    pairs = zip(one.linear.weight.flatten().tolist(), one.gamma.flatten().tolist(), strict=True)
    highest = max(abs(w) + 2 * abs(gamma) for w, gamma in pairs) / (2 * np.pi)
    assert kernel.frequencies()[1].item() == pytest.approx(highest)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_a_mask_cuts_where_it_is_below_the_threshold(causal: bool, threshold: float) -> None:
    mask = cnn.GaussianMask(1, 0.3, threshold, causal=causal).double()
    places = torch.linspace(-1, 1, 41, dtype=torch.double)
    kept = mask.kept(places, 0, 0.05)
    assert torch.equal(kept, mask(places.unsqueeze(1)) > threshold)
    assert cnn.GaussianMask(1, 2.0, threshold, causal=causal).kept(places, 0, 0.05).all()
    assert cnn.GaussianMask(1, 0.3, 0.0, causal=causal).kept(places, 0, 0.05) is None


def test_pyramids_are_interpolated_blocks() -> None:
    """Each block is linear between its values, which lie in the middle of equal shares of it."""
    torch.manual_seed(0)
    kernel = PyramidKernel(2, l_max=32, kernel_dim=4, bidirectional=False, decay_min=1.5, decay_max=3.0).double()
    values, start, blocks = kernel.values().detach().numpy(), 0, []
    for i, block in enumerate(kernel.blocks):
        factor = 2 ** max(0, i - 1)
        at = (np.arange(4 * factor) + 0.5) / factor - 0.5
        decay = np.linspace(1.5, 3.0, 2)[:, None] ** (kernel.n_scales - 1 - i)
        between = interp1d(np.arange(4), block[0].detach().numpy())(at.clip(0, 3))
        blocks.append(decay * between)
        start += 4 * factor
    expected = np.concatenate(blocks, -1)
    expected = expected / np.linalg.norm(expected, axis=-1, keepdims=True)
    assert start == kernel.length == 32
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=1e-6)  # the norm was taken in float32


@pytest.mark.parametrize(
    ("mode", "check"),
    [
        ("cat_randn_nearest", lambda k: (k[..., 16:].unflatten(-1, (-1, 4)).diff(dim=-1) == 0).all()),
        ("cat_randn_learnable", lambda k: k.requires_grad),
        ("sum_cos", lambda k: k.norm(dim=-1).allclose(torch.ones(()))),
    ],
)
def test_modes_of_pyramids(mode: str, check) -> None:
    kernel = PyramidKernel(2, l_max=32, kernel_dim=4, mode=mode, bidirectional=False)
    assert kernel.values().shape == (1, 2, 32)
    assert check(kernel.values())
    assert hasattr(kernel, "decay") == ("learnable" in mode)


def test_a_squash_brings_taps_nearer_to_zero() -> None:
    kernel = cnn.SquashedKernel(2, l_max=9, lam=0.3, bidirectional=False).double()
    with torch.no_grad():
        kernel.taps.copy_(torch.linspace(-1, 1, 18).view(1, 2, 9))
    expected = [[np.sign(k) * max(abs(k) - 0.3, 0) for k in row] for row in kernel.taps[0].tolist()]
    np.testing.assert_allclose(kernel.values()[0].detach().numpy(), expected, rtol=0, atol=1e-12)


def test_an_average_comes_before_the_squash() -> None:
    kernel = cnn.SquashedKernel(1, l_max=9, lam=0.0, ma_window_len=3, bidirectional=False).double()
    padded = np.pad(kernel.taps[0, 0].detach().numpy(), 1)
    expected = [(padded[i] + padded[i + 1] + padded[i + 2]) / 3 for i in range(9)]
    np.testing.assert_allclose(kernel.values()[0, 0].detach().numpy(), expected, rtol=0, atol=1e-12)
    of_spectrum = cnn.SquashedKernel(1, l_max=9, lam=0.0, ma_window_len=1, smooth_freq=True).double()
    torch.testing.assert_close(of_spectrum.values(), of_spectrum.taps, rtol=0, atol=1e-12)  # a window of one


def test_taps_at_lags_and_between_them() -> None:
    kernel = cnn.SquashedKernel(2, heads=2, l_max=4, lam=0.0).double()
    past, future = kernel.taps[:2], kernel.taps[2:]
    at = kernel(torch.tensor([[-9], [-3], [0], [1], [4], [5]]))  # (channels heads, 1, lags)
    assert at.shape == (4, 1, 6)
    of_channel_1_head_0 = at[2, 0]
    expected = torch.stack([past.new_zeros(()), past[0, 1, 3], past[0, 1, 0], future[0, 1, 0], future[0, 1, 3]])
    torch.testing.assert_close(of_channel_1_head_0[:5], expected, rtol=0, atol=0)
    assert of_channel_1_head_0[5] == 0
    between = kernel(torch.tensor([[-0.25], [0.5]], dtype=torch.double))[2, 0]
    weights = torch.stack([0.75 * past[0, 1, 0] + 0.25 * past[0, 1, 1], 0.5 * past[0, 1, 0] + 0.5 * future[0, 1, 0]])
    torch.testing.assert_close(between, weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cnn.SirenKernel(1, 0, 1), "out_channels=0 must be an integer of at least 1"),
        (lambda: cnn.SirenKernel(1, 1, 1, no_layers=1), "no_layers=1 must be an integer of at least 2"),
        (lambda: cnn.SirenKernel(1, 1, 1, omega_0=0.0), "omega_0=0.0 must be a positive number"),
        (lambda: cnn.SirenKernel(1, 1, 1, activation="sine"), "activation='sine' is not one of Sine"),
        (lambda: cnn.SirenKernel(1, 1, 1, norm="LayerNorm"), "norm='LayerNorm' is for other activations than Sine"),
        (lambda: cnn.PointKernel(1, 1, 1, n_points=0), "n_points=0 must be an integer of at least 1"),
        (lambda: cnn.PointKernel(1, 1, 1, radius=-1.0), "radius=-1.0 must be a positive number"),
        (lambda: cnn.GaborKernel(1, 1, 1, omega_0=-1.0), "omega_0=-1.0 must be a positive number"),
        (lambda: cnn.GaussianMask(1, 0.0), "mask_init_value=0.0 must be a positive number"),
        (lambda: cnn.GaussianMask(1, 0.1, 2.0), "mask_threshold=2.0 must lie between 0 and 1"),
        (lambda: PyramidKernel(1, l_max=16, kernel_dim=32), "kernel_dim=32 must be at most l_max=16"),
        (lambda: PyramidKernel(1, n_scales=0), "n_scales=0 must be an integer of at least 1"),
        (lambda: PyramidKernel(1, mode="randn"), "kernel_mode='randn' must be cat or sum, then randn or cos"),
        (lambda: cnn.SquashedKernel(1, lam=-1.0), "lam=-1.0 must lie between 0 and 1"),
        (lambda: cnn.SquashedKernel(1, ma_window_len=4), "ma_window_len=4 must be odd"),
        (lambda: cnn.SquashedKernel(1, smooth_freq=True), "smooth_freq=True needs the width of the average"),
        (lambda: cnn.SquashedKernel(1, weight_init="zeros"), "weight_init='zeros' is not one of random, double_exp"),
        (lambda: cnn.Horizon(8), "horizon=8 must be odd"),
        (lambda: cnn.Horizon("long"), "horizon='long' must be a number of taps, or 'same' or 'full'"),
        (lambda: cnn.Horizon("full", causal=True), "horizon='full' must be a number of taps, or 'same'"),
    ],
)
def test_refuses(make, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()
