"""The convolution that applies a generated kernel: definition, irregular samples, sampling rates, kept kernels."""

import copy
import pickle
import re

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.generated.operator import GeneratedConv
from kernel_layers import check_merged, check_trains, maps, with_statistics

KINDS = {
    "siren": lambda axes, o, i: cnn.SirenKernel(axes, o, i, no_hidden=4, omega_0=5.0),
    "points": lambda axes, o, i: cnn.PointKernel(axes, o, i, n_points=3, radius=0.6, coord_std=0.4),
    "masked": lambda axes, o, i: cnn.MaskedKernel(
        cnn.GaborKernel(axes, o, i, no_hidden=4), cnn.GaussianMask(axes, 0.3, causal=axes == 1)
    ),
}


def conv_of(kind: str, axes: int = 1, **settings: object) -> GeneratedConv:
    torch.manual_seed(0)
    groups = settings.get("groups", 1)
    layer = GeneratedConv(KINDS[kind](axes, 4, 2 // groups), **settings).double()
    nn.init.normal_(layer.bias)
    return layer


def by_loops(layer: GeneratedConv, x: Tensor, half: int, scale: float) -> Tensor:
    """Return the definition on maps (B, C, H, W): the kernel function at every offset within the horizon."""
    height, width = x.shape[2:]
    out = layer.bias.view(-1, 1, 1).expand(x.shape[0], -1, height, width).clone()
    for t in range(height):
        for u in range(width):
            for s in range(max(0, t - half), min(height, t + half + 1)):
                for v in range(max(0, u - half), min(width, u + half + 1)):
                    place = torch.tensor([[scale * (s - t), scale * (v - u)]], dtype=torch.double)
                    out[:, :, t, u] += x[:, :, s, v] @ layer.kernel(place)[..., 0].T
    return out


@pytest.mark.parametrize("kind", ["siren", "points"])
def test_is_the_definition(kind: str) -> None:
    layer, x = conv_of(kind, 2, horizon=5), maps(2, 4, 3)
    torch.testing.assert_close(layer(x), by_loops(layer, x, 2, 0.5), rtol=0, atol=1e-12)


def test_a_kernel_as_long_as_the_signal_reads_only_the_past() -> None:
    layer, x = conv_of("siren", causal=True), maps(2, 9)
    places = 1 + 2 * torch.arange(-8, 1) / 8.0
    kernel = layer.kernel(places.double().unsqueeze(1))
    expected = layer.bias.view(1, -1, 1).expand(2, -1, 9).clone()
    for t in range(9):
        for s in range(t + 1):
            expected[:, :, t] += x[:, :, s] @ kernel[:, :, 8 - (t - s)].T
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_a_cut_kernel_is_the_inner_part_and_the_rest_is_small() -> None:
    layer = conv_of("masked", 2, horizon=15)
    sampled, before = layer.sampled((20, 20))
    whole = layer.whole((20, 20))
    inner = tuple(slice(7 - b, 7 - b + k) for b, k in zip(before, sampled.shape[2:], strict=True))
    torch.testing.assert_close(sampled, whole[(..., *inner)], rtol=0, atol=1e-15)
    assert sampled.shape[2:] == layer.sides((20, 20)) < (15, 15)
    assert whole.count_nonzero() == sampled.count_nonzero()
    layer.kernel.mask.threshold = 0.0
    assert layer.sides((20, 20)) == (15, 15)
    assert layer.sides((3, 4)) == (5, 7), "no tap can meet another position"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [1, 2])
def test_samples_on_a_grid_are_a_map_and_missing_ones_are_zeros(kind: str, axes: int) -> None:
    size = (7, 5)[:axes]
    layer = conv_of(kind, axes, horizon=5 if axes == 2 else "same", causal=axes == 1)
    x = maps(2, *size)
    axis = [torch.arange(n, dtype=torch.double) for n in size]
    coordinates = torch.stack(torch.meshgrid(*axis, indexing="ij"), -1).flatten(0, -2)
    whole = layer.at(x.flatten(2), coordinates, size)
    torch.testing.assert_close(whole, layer(x).flatten(2), rtol=0, atol=1e-12)
    left = torch.randperm(len(coordinates), generator=torch.Generator().manual_seed(0))[:4].sort().values
    with_zeros = torch.zeros_like(x).flatten(2)
    with_zeros[..., left] = x.flatten(2)[..., left]
    some = layer.at(x.flatten(2)[..., left], coordinates[left], size)
    expected = layer(with_zeros.view_as(x)).flatten(2)[..., left]
    torch.testing.assert_close(some, expected, rtol=0, atol=1e-12)


def test_samples_between_positions_are_weighed_by_their_offset() -> None:
    layer, x = conv_of("siren", causal=True, horizon=9), maps(2, 2)
    out = layer.at(x, torch.tensor([[1.25], [3.0]], dtype=torch.double), (12,))
    kernel = layer.kernel(torch.tensor([[1.0], [1 + 2 * -1.75 / 8]], dtype=torch.double))
    first = layer.bias + x[:, :, 0] @ kernel[..., 0].T
    second = layer.bias + x[:, :, 1] @ kernel[..., 0].T + x[:, :, 0] @ kernel[..., 1].T
    torch.testing.assert_close(out, torch.stack([first, second], -1), rtol=0, atol=1e-12)


def test_at_twice_the_rate_every_other_tap_is_that_of_training() -> None:
    layer = conv_of("siren", 2, horizon=5)
    once = layer.sampled((20, 20))[0]
    cnn.set_rate(layer, 2.0)
    twice = layer.sampled((20, 20))[0]
    assert twice.shape[2:] == (9, 9)
    torch.testing.assert_close(4 * twice[..., ::2, ::2], once, rtol=0, atol=1e-12)
    assert "rate=2.0" in str(layer)


@pytest.mark.parametrize("horizon", ["same", 65])
def test_smooth_signals_give_the_same_at_half_the_rate(horizon: int | str) -> None:
    layer = conv_of("siren", causal=True, horizon=horizon)
    t = torch.linspace(0, 1, 256, dtype=torch.double)
    x = torch.stack([torch.sin(5 * t), torch.cos(3 * t)]).unsqueeze(0)
    fine = layer(x)[..., ::2]
    cnn.set_rate(layer, 0.5)
    coarse = layer(x[..., ::2])
    assert (fine - coarse).abs().max() < 0.05 * fine.abs().max()
    cnn.set_rate(layer, 1.0)
    assert (fine - layer(x[..., ::2])).abs().max() > 0.2 * fine.abs().max()


def test_taps_are_interpolated_at_another_rate() -> None:
    layer = cnn.LagConv(cnn.SquashedKernel(1, l_max=4, lam=0.0, bidirectional=False)).double()
    taps = layer.conv.kernel.taps[0, 0]
    cnn.set_rate(layer, 2.0)
    expected = torch.stack([taps[0], (taps[0] + taps[1]) / 2, taps[1], (taps[1] + taps[2]) / 2]) / 2
    torch.testing.assert_close(layer.conv.sampled((4,))[0][0, 0].flip(0), expected, rtol=0, atol=1e-12)


def test_valid_positions_are_those_inside() -> None:
    everywhere, x = conv_of("siren", 2, horizon=(5, 3)), maps(2, 9, 8)
    valid = GeneratedConv(everywhere.kernel, horizon=(5, 3), padding="valid", stride=(2, 1)).double()
    valid.load_state_dict(everywhere.state_dict())
    torch.testing.assert_close(valid(x), everywhere(x)[..., 2:-2:2, 1:-1], rtol=0, atol=1e-12)
    with pytest.raises(InputError, match=re.escape("padding='valid' needs a map of at least 5 positions")):
        valid(maps(2, 4, 4))


def test_groups_do_not_mix() -> None:
    layer, x = conv_of("siren", horizon=5, groups=2), maps(2, 6)
    changed = x.clone()
    changed[:, 1] += 1
    same = (layer(x) == layer(changed)).all(-1).all(0)
    assert same.tolist() == [True, True, False, False]


class Counted(cnn.KernelFunction):
    """Counts how often it is computed."""

    def __init__(self) -> None:
        super().__init__(1, 1, 1)
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, offsets: Tensor) -> Tensor:
        self.calls += 1
        return (self.weight * offsets.flatten()).view(1, 1, -1)


def test_a_kernel_is_kept_in_evaluation_until_something_changes() -> None:
    layer, x = GeneratedConv(Counted(), horizon=3), torch.randn(1, 1, 5)
    kernel = layer.kernel
    layer(x), layer(x)
    assert kernel.calls == 2, "training computes it in every pass"
    layer.eval()
    layer(x)
    assert kernel.calls == 3, "with gradients too"
    with torch.no_grad():
        first = layer(x)
        layer(x), layer(torch.randn(1, 1, 50))
        assert kernel.calls == 4
        for change in (
            lambda: kernel.weight.mul_(2),
            lambda: layer.load_state_dict({name: 3 * value for name, value in layer.state_dict().items()}),
            lambda: layer.train().eval(),
            lambda: layer.double().float(),
            lambda: setattr(layer, "rate", 2.0),
            lambda: setattr(kernel, "weight", nn.Parameter(torch.full((1,), 9.0))),
        ):
            before = kernel.calls
            change()
            layer(x), layer(x)
            assert kernel.calls == before + 1
        assert not torch.equal(layer(x), first)
        assert torch.func.functional_call(layer, {"kernel.weight": torch.zeros(1)}, (x,)).abs().max() == 0


def test_copies_and_pickles_do_not_share_the_kept_kernel() -> None:
    layer, x = conv_of("siren", horizon=5).eval(), maps(2, 6)
    with torch.no_grad():
        expected = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
            other.kernel.layers[-1].weight.zero_()
            assert not torch.equal(other(x), expected)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["CKConv", "SMPConv", "FlexConv", "CCNNConv", "SGConv", "LongConv"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_layer_trains(name: str, axes: int) -> None:
    settings = {"l_max": (5, 20, 80)[axes - 1]} if name in ("SGConv", "LongConv") else {"horizon": 3}
    settings |= {"omega_0": 3.0} if name == "CCNNConv" else {}
    settings |= {"mask_init_value": 0.6} if name in ("FlexConv", "CCNNConv") else {}
    settings |= {"coord_std": 0.5, "radius": 1.0} if name == "SMPConv" else {}
    settings |= {"kernel_dim": 2} if name == "SGConv" else {}
    torch.manual_seed(0)
    layer = getattr(cnn, f"{name}{axes}d")(2, 3, **settings)
    check_trains(layer, maps(2, *(5, 4, 4)[:axes]))


def test_points_and_a_small_kernel_become_one() -> None:
    pair = cnn.PointsAndSmall(cnn.ConvMaker(2), 3, 7)
    check_trains(pair, maps(3, 6, 5))
    report = check_merged(nn.Sequential(pair), maps(3, 9, 8))
    assert report.merged[0].old == "PointsAndSmall"
    with_statistics(pair)
    assert pair.kernel().weight.shape == (3, 1, 7, 7)


def test_points_convolve_their_nearest() -> None:
    torch.manual_seed(0)
    layer = cnn.PointConv(3, 4, num_edges=3, no_hidden=4, mask_init_value=0.7).double()
    x, places = maps(3, 6, batch=1)[0].T.unsqueeze(0), torch.rand(1, 6, 3, dtype=torch.double)
    rows = []
    for n in range(6):
        near = (places[0] - places[0, n]).square().sum(-1).argsort()[:3]
        offsets = places[0, n] - places[0, near]
        weights = layer.kernel(offsets)[:, 0] * torch.exp(-0.5 * offsets.square().sum(-1) / layer.mask.width**2)
        rows.append(layer.mix((weights.T * x[0, near]).sum(0)))
    torch.testing.assert_close(layer(x, places)[0], torch.stack(rows), rtol=0, atol=1e-12)
    check = cnn.PointConv(4, 4, num_edges=2, bottleneck_factor=2)
    assert check(torch.randn(2, 5, 4), torch.randn(2, 5, 3)).shape == (2, 5, 4)


def test_the_published_numbers_of_parameters() -> None:
    for layer, number in (
        (cnn.CKConv1d(2, 3, weight_norm=True), 1391),
        (cnn.CKConv1d(32, 32, weight_norm=True), 36_032),
        (cnn.FlexConv2d(3, 4), 4468),
        (cnn.FlexConv2d(64, 64), 139_300),
        (cnn.CCNNConv2d(64, 64), 10_402),
        (cnn.CCNNConv2d(140, 140), 28_566),
        (cnn.PointsAndSmall(cnn.ConvMaker(2), 96, 31).large.kernel, 23_760),
        (cnn.LagConv(cnn.PyramidKernel(64, l_max=1024)), 24_640),
        (cnn.LagConv(cnn.SquashedKernel(64, l_max=1024)), 131_136),
    ):
        assert sum(p.numel() for p in layer.parameters()) == number, layer


def test_the_initial_kernel_of_ccnn_keeps_the_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 64, 32, 32)
    deviations = [cnn.CCNNConv2d(64, 64).operator(x).std().item() for _ in range(3)]
    assert all(0.15 < one < 1.5 for one in deviations), deviations
    assert cnn.CCNNConv2d(4, 4).operator.sides((64, 64)) == (5, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cnn.CKConv2d(2, 2, causal=True), "causal=True is for signals, which have one axis"),
        (lambda: cnn.CKConv2d(2, 2, horizon=8), "horizon=8 must be odd"),
        (
            lambda: cnn.CKConv2d(2, 2, horizon=(3, 3, 3))(torch.zeros(1, 2, 4, 4)),
            "horizon=(3, 3, 3) must be one number",
        ),
        (lambda: cnn.CKConv2d(2, 2, weight_dropout=2.0), "weight_dropout=2.0 must lie between 0 and 1"),
        (lambda: cnn.CKConv2d(2, 2, use_fft="yes"), "use_fft='yes' is not one of auto, never, always, butterfly"),
        (lambda: cnn.CKConv2d(2, 3, groups=2), "groups=2 must divide the 2 and 3 channels"),
        (lambda: cnn.SMPConv1d(2, 2, horizon="same"), "radius=None is 4 / horizon, and horizon='same' is no number"),
        (lambda: cnn.FlexConv2d(2, 2, mask_init_value=0.0), "mask_init_value=0.0 must be a positive number"),
        (lambda: cnn.CCNNConv2d(2, 2, l_max=0), "l_max=0 must be an integer of at least 1"),
        (lambda: cnn.SGConv2d(2, 2, l_max=16), "kernel_dim=32 must be at most l_max=16"),
        (lambda: cnn.PointConv(4, 4, bottleneck_factor=3), "bottleneck_factor=3 must divide in_channels=4"),
        (lambda: cnn.PointConv(4, 4)(torch.zeros(1, 9, 4), torch.zeros(1, 9, 2)), "must be (B, N, 4) and (B, N, 3)"),
        (lambda: cnn.set_rate(nn.Linear(1, 1), 2.0), "model=Linear has no layer with a generated kernel"),
        (lambda: cnn.set_rate(cnn.CKConv2d(1, 1), 0.0), "rate=0.0 must be a positive number"),
        (
            lambda: conv_of("siren").at(maps(2, 3), torch.zeros(2, 1), (4,)),
            "coordinates of shape (2, 1) must",
        ),
        (lambda: conv_of("siren").at(maps(2, 1), torch.full((1, 1), torch.nan), (4,)), "coordinates must be finite"),
    ],
)
def test_refuses(make, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()
