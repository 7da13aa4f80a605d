"""Tests of convolutions of functions of the channels: the functions are SciPy's, and a linear one is a convolution."""

import re

import numpy as np
import pytest
import torch
from scipy import interpolate, special
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.kernels import bases
from convnn.nn.kernels.wavelets import Wavelets
from kernel_layers import check_trains, maps

KAN = (cnn.KANConv1d, cnn.KANConv2d, cnn.KANConv3d)
POINTS = torch.linspace(-0.99, 0.99, 41, dtype=torch.double).view(1, 1, -1)


def of_points(functions: list) -> Tensor:
    return torch.from_numpy(np.stack([function(POINTS[0, 0].numpy()) for function in functions])).view(1, 1, -1, 41)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
@pytest.mark.parametrize(("intervals", "ends"), [(5, (-1.0, 1.0)), (3, (-0.7, 2.0))])
def test_splines_are_those_of_scipy(order: int, intervals: int, ends: tuple[float, float]) -> None:
    step = (ends[1] - ends[0]) / intervals
    knots = ends[0] + step * np.arange(-order, intervals + order + 1)
    elements = [interpolate.BSpline.basis_element(knots[i : i + order + 2], False) for i in range(intervals + order)]
    expected = of_points(elements).nan_to_num()  # NaN beyond the support
    found = bases.b_splines(POINTS, order, intervals, *ends)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_splines_of_a_range_sum_to_one() -> None:
    total = bases.b_splines(POINTS, 3, 4, -1, 1).sum(2)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", [1, 2, 6])
def test_polynomials_are_those_of_scipy(degree: int) -> None:
    degrees = range(degree + 1)
    pairs = [
        (bases.chebyshev(POINTS, degree), [lambda t, n=n: special.eval_chebyt(n, t) for n in degrees]),
        (bases.legendre(POINTS, degree), [lambda t, n=n: special.eval_legendre(n, t) for n in degrees]),
        (bases.jacobi(POINTS, degree), [lambda t, n=n: special.eval_jacobi(n, 1, 1, t) for n in degrees]),
        (
            bases.jacobi(POINTS, degree, 2, 0),
            [lambda t, n=n: special.eval_jacobi(n, 2, 0, t) for n in degrees],
        ),
    ]
    for found, functions in pairs:
        torch.testing.assert_close(found, of_points(functions), rtol=0, atol=1e-12)


def test_gram_polynomials_take_the_weights_of_the_terms_between() -> None:
    weights = torch.tensor([9.0, 0.1, -0.2, 9.0], dtype=torch.double)
    t, one = POINTS[0, 0], 9 / 4 * 0.1  # 3 * 1 * 3 / 4
    two = 5 * 4 * 15 / 9 * -0.2
    square = t * t - one
    expected = nn.functional.silu(torch.stack([torch.ones_like(t), t, square, t * square - two * t]))
    torch.testing.assert_close(bases.gram(POINTS, 3, weights)[0, 0], expected, rtol=0, atol=1e-14)


def test_bumps_and_gaussians_in_loops() -> None:
    bumps = bases.LearnedPowers(2, 5, 3, dtype=torch.double)
    x = maps(4, 6)
    found = bumps(x)
    gauss = bases.gaussians(x, 8, -2, 2)
    for i in range(8):
        low, high = (i - 3) / 5, (i + 1) / 5
        expected = ((x - low).clamp_min(0) * (high - x).clamp_min(0) * 100 / 16) ** 2
        torch.testing.assert_close(found[:, :, i], expected, rtol=0, atol=1e-12)
        center = -2 + 4 * i / 7
        torch.testing.assert_close(gauss[:, :, i], torch.exp(-(((x - center) * 7 / 4) ** 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", cnn.WAVELETS)
def test_wavelets_are_moved_and_scaled_for_each_pair(kind: str) -> None:
    wavelets = Wavelets(4, 6, 2, kind).double()
    nn.init.uniform_(wavelets.scale, 0.5, 2)
    nn.init.normal_(wavelets.translation)
    x = maps(4, 5)
    found = wavelets(x).unflatten(1, (6, 2))
    for output in range(6):
        inputs = x[:, 2 * (output // 3) :][:, :2]
        u = (inputs - wavelets.translation[output].unsqueeze(1)) / wavelets.scale[output].unsqueeze(1)
        expected = cnn.WAVELETS[kind](u.unsqueeze(1))[:, 0]
        torch.testing.assert_close(found[:, output], expected, rtol=0, atol=1e-13)


def test_wavelets_have_the_published_values() -> None:
    u = torch.tensor([0.0, 0.25, 0.8, 2.0], dtype=torch.double).view(1, 1, 4)
    values = {kind: function(u)[0, 0] for kind, function in cnn.WAVELETS.items()}
    assert values["mexican_hat"][0].item() == pytest.approx(-0.8673250705840776)
    assert values["morlet"][1].item() == pytest.approx(np.cos(1.25) * np.exp(-1 / 32))
    assert values["dog"][3].item() == pytest.approx(-2 * np.exp(-2))
    assert values["meyer"][[0, 3]].abs().max() < 1e-15
    assert values["meyer"][1].item() == pytest.approx(np.sin(np.pi / 4))
    shannon = np.sinc(u[0, 0].numpy() / np.pi) * np.hamming(4)
    np.testing.assert_allclose(values["shannon"].numpy(), shannon, rtol=0, atol=1e-13)


@pytest.mark.parametrize("build", KAN)
@pytest.mark.parametrize(
    "geometry",
    [
        {"padding": 1},
        {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
        {"padding": "same", "dilation": 2},
        {"padding": 1, "padding_mode": "circular", "bias": False},
    ],
)
def test_a_linear_basis_is_a_convolution(build: type, geometry: dict) -> None:
    axes = build.spatial_dims
    geometry = {"kernel_size": 3, "bias": True, "dtype": torch.double} | geometry
    layer = build(4, 6, basis="linear", **geometry)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 6, **geometry)
    layer.load_state_dict(conv.state_dict())
    x = maps(4, *(7, 6, 5)[:axes])
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("basis", cnn.BASES)
def test_the_layer_is_two_convolutions(basis: str) -> None:
    """The sum of a convolution of the functions, zero outside of the map, and one of the activated map."""
    torch.manual_seed(0)
    layer = cnn.KANConv2d(4, 6, basis=basis, groups=2, norm_layer="none", dtype=torch.double)
    x = maps(4, 5, 6)
    expanded = layer.expand(x)
    functions = expanded.flatten(1, 2) if expanded.dim() == 5 else expanded
    groups = 6 if basis == "wavelet" else 2
    expected = nn.functional.conv2d(functions, layer.weight, padding=1, groups=groups)
    if basis == "wavelet":
        expected = nn.functional.conv2d(expected, layer.mix, groups=2)
    if layer.base is not None:
        expected = expected + nn.functional.conv2d(layer.base(x), layer.base_weight, padding=1, groups=2)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    assert (layer.base is None) == (basis in ("chebyshev", "linear"))


def test_an_image_depends_on_its_batch_for_legendre_alone() -> None:
    x = maps(3, 5, 5)
    for basis in cnn.BASES:
        layer = cnn.KANConv2d(3, 2, basis=basis, dtype=torch.double).eval()
        assert torch.allclose(layer(x)[:1], layer(x[:1])) == (basis != "legendre"), basis
    constant = torch.ones(2, 3, 4, 4, dtype=torch.double)
    assert cnn.KANConv2d(3, 2, basis="legendre", dtype=torch.double)(constant).isfinite().all()


@pytest.mark.parametrize(
    ("basis", "count"),
    [
        ("spline", 41472 + 1),
        ("rbf", 41472),
        ("chebyshev", 18432),
        ("legendre", 23040),
        ("jacobi", 23040),
        ("gram", 23044),
        ("relu", 41472 + 256),
        ("wavelet", 9216 + 1024 + 1024),
    ],
)
def test_parameters_are_as_many_as_published(basis: str, count: int) -> None:
    layer = cnn.KANConv2d(16, 32, basis=basis, norm_layer="none", activate=True)
    assert sum(parameter.numel() for parameter in layer.parameters()) == count


@pytest.mark.parametrize("basis", cnn.BASES)
def test_gradients(basis: str) -> None:
    torch.manual_seed(0)
    norm = "none" if basis == "rbf" else "instance"
    layer = cnn.KANConv1d(2, 2, basis=basis, degree=2, grid_size=2, norm_layer=norm, dtype=torch.double)
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    x = maps(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(call, (x, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize("basis", cnn.BASES)
def test_trains(basis: str) -> None:
    layer = cnn.KANConv2d(2, 4, basis=basis, groups=2, norm_layer="batch", activate=True)
    check_trains(layer, maps(2, 5, 4))


def test_dropout_drops_whole_channels_in_training() -> None:
    layer = cnn.KANConv2d(2, 64, basis="chebyshev", dropout=0.5, dtype=torch.double).train()
    x = maps(2, 4, 4, batch=1)
    out = layer(x)[0]
    kept = out.flatten(1).any(1)
    assert 10 < kept.sum() < 54
    torch.testing.assert_close(out[kept], 2 * layer.eval()(x)[0, kept])


def test_replaces_convolutions() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, (3, 5), groups=2))
    x = torch.randn(2, 3, 12, 12)
    shape = network(x).shape
    cnn.replace_layers(network, "KANConv", basis="chebyshev", degree=2)
    assert network(x).shape == shape
    assert [type(network[i]) for i in (0, 2)] == [cnn.KANConv2d] * 2
    assert network[2].weight.shape == (4, 2 * 3, 3, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"basis": "splines"}, "basis='splines' is not one of spline, rbf"),
        ({"degree": 0}, "degree=0 must be an integer of at least 1"),
        ({"spline_order": -1}, "spline_order=-1 must be"),
        ({"grid_size": -2}, "grid_size=-2 must be"),
        ({"basis": "rbf", "grid_size": 1}, "grid_size=1 must be at least 2 for basis='rbf'"),
        ({"grid_range": "1,-1"}, "grid_range='1,-1' must be finite and increase"),
        ({"grid_range": (1,)}, "grid_range=(1,) must be two numbers"),
        ({"basis": "wavelet", "wavelet_type": "haar"}, "wavelet_type='haar' is not one of"),
        ({"basis": "jacobi", "jacobi_a": -1.0}, "jacobi_a=-1.0 and jacobi_b=1.0 must be above -1"),
        ({"norm_layer": "layer"}, "norm_layer='layer' is not one of"),
        ({"base_activation": "elu"}, "base_activation='elu' is not one of"),
        ({"dropout": 1.5}, "dropout=1.5 must lie between 0 and 1"),
        ({"groups": 3}, "groups=3 must divide"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size=(3, 3, 3) must be one number, or 2"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.KANConv2d(4, 4, **settings)


def test_refuses_maps_that_it_cannot_read() -> None:
    with pytest.raises(InputError, match=r"has one position, over which norm_layer='instance' cannot normalise"):
        cnn.KANConv2d(4, 4, norm_layer="instance")(torch.randn(2, 4, 1, 1))
    with pytest.raises(InputError, match="has one value for each channel"):
        cnn.KANConv2d(4, 4, basis="rbf")(torch.randn(1, 4, 1, 1))
    with pytest.raises(InputError, match=r"kernel_size=\(5, 5\).* does not fit the \(3, 3\) map"):
        cnn.KANConv2d(4, 4, kernel_size=5, padding=0)(torch.randn(1, 4, 3, 3))
