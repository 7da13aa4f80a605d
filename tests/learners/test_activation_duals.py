import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal
from torch.nn import functional as F

from convnn.errors import InputError, UnsupportedError
from convnn.learners.activation_duals import ACTIVATIONS, activations_of, dual, dual_derivative
from convnn.learners.kernels import ArcCosine
from small_graphs import features

PAIRS = [(1.0, 1.0, 0.3), (0.4, 2.5, -0.7), (3.0, 0.5, 1.1), (0.2, 0.2, 0.0)]
"""Variances a and b, and covariances s."""
SMOOTH = {"erf": torch.erf, "cos": torch.cos, "sin": torch.sin}
A, B, S = torch.tensor(PAIRS, dtype=torch.float64).T


def _ones(*values: float) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_step_and_sign_are_orthant_probabilities(pair: tuple[float, float, float]) -> None:
    a, b, s = pair
    both = multivariate_normal([0, 0], [[a, s], [s, b]]).cdf([0, 0])
    assert dual("step", *_ones(*pair)).item() == pytest.approx(both, abs=1e-10)
    assert dual("sign", *_ones(*pair)).item() == pytest.approx(4 * both - 1, abs=1e-10)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_is_an_integral_over_the_circle(pair: tuple[float, float, float], order: int) -> None:
    a, b, s = pair
    angle = math.acos(s / math.sqrt(a * b))
    around, _ = quad(lambda phi: (math.cos(phi) * math.cos(phi - angle)) ** order, angle - math.pi / 2, math.pi / 2)
    along = 2**order * math.factorial(order)  # the mean of r^2p
    expected = 2 * (a * b) ** (order / 2) * along * around / (2 * math.pi)
    points = torch.tensor([[math.sqrt(a), 0], [s / math.sqrt(a), math.sqrt(b - s * s / a)]], dtype=torch.float64)
    assert ArcCosine(order).block(points[:1], points[1:]).item() == pytest.approx(expected, rel=1e-9)
    if order == 1:
        assert dual("relu", *_ones(*pair)).item() == pytest.approx(expected / 2, rel=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_closed_forms_are_the_integrals(name: str) -> None:
    more = torch.tensor([[10.0, 12.0, 9.0], [10.0, 10.0, 10.0], [0.0, 2.0, 0.0]], dtype=torch.float64).T
    a, b, s = torch.cat([torch.stack([A, B, S]), more], 1)
    assert torch.allclose(dual(name, a, b, s), dual(SMOOTH[name], a, b, s), atol=1e-12)
    assert torch.allclose(dual_derivative(name, a, b, s), dual_derivative(SMOOTH[name], a, b, s), atol=1e-12)


def test_kinks_and_jumps_are_integrated_less_precisely() -> None:
    assert torch.allclose(dual(torch.relu, A, B, S), dual("relu", A, B, S), atol=2e-4)
    leaky = dual(lambda u: F.leaky_relu(u, 0.5), A, B, S)  # (3 u + |u|) / 4
    size = dual("relu", A, B, S) + dual("relu", A, B, -S)  # half of E |u| |v|
    assert torch.allclose(leaky, (9 * S + 2 * size) / 16, atol=2e-4)
    assert torch.allclose(dual(torch.sign, A, B, S), dual("sign", A, B, S), atol=0.03)


@pytest.mark.parametrize("name", [name for name, one in ACTIVATIONS.items() if one.slope is not None])
def test_the_derivative_is_that_by_the_covariance(name: str) -> None:
    s = S.clone().requires_grad_()
    (slope,) = torch.autograd.grad(dual(name, A, B, s).sum(), s)
    assert torch.allclose(slope, dual_derivative(name, A, B, S), atol=1e-12)


def test_so_is_that_of_a_function_of_ones_own() -> None:
    s = S.clone().requires_grad_()
    (slope,) = torch.autograd.grad(dual(torch.tanh, A, B, s).sum(), s)
    assert torch.allclose(slope, dual_derivative(torch.tanh, A, B, S), atol=1e-9)


def test_fourier_is_a_gaussian_of_the_distance() -> None:
    x, y = features(5, 3), features(5, 3, seed=2)
    found = dual("fourier", x.square().sum(1), y.square().sum(1), (x * y).sum(1))
    assert torch.allclose(found, torch.exp(-(x - y).square().sum(1) / 2))


def test_large_variances_do_not_overflow() -> None:
    a, b, s = _ones(1000.0, 1000.0, 990.0)
    assert dual("cos", a, b, s).item() == pytest.approx(math.exp(-10) / 2)
    assert dual("sin", a, b, s).item() == pytest.approx(math.exp(-10) / 2)


def test_equal_and_zero_inputs_have_a_value_and_finite_gradients() -> None:
    a, b, s = (each.requires_grad_() for each in _ones(2.0, 2.0, 2.0 * (1 - 1e-14)))
    assert dual("step", a, b, s).item() == 0.5
    assert dual("relu", a, b, s).item() == 1
    zero = [each.requires_grad_() for each in _ones(0.0, 2.0, 0.0)]
    assert dual("step", *zero).item() == 0.25
    assert dual("relu", *zero).item() == dual("sign", *zero).item() == dual(torch.tanh, *zero).item() == 0
    opposed = [each.requires_grad_() for each in _ones(2.0, 2.0, -2.0)]
    assert dual("relu", *opposed).item() == 0
    for inputs in ((a, b, s), zero, opposed):
        for name in ("relu", "step", "sign", torch.tanh):
            found = torch.autograd.grad(dual(name, *inputs), inputs)
            assert all(bool(each.isfinite()) for each in found)


def test_kernel_of_points_with_themselves_has_the_gradient_of_its_formula() -> None:
    x = features(4, 3).requires_grad_()
    (slope,) = torch.autograd.grad(ArcCosine(1).block(x, x).diagonal().sum(), x)
    assert torch.allclose(slope, 2 * x)


def test_shapes_broadcast_and_float32_stays() -> None:
    a, b = torch.rand(3, 1) + 1, torch.rand(4) + 1
    for activation in ("relu", torch.tanh):
        found = dual(activation, a, b, torch.full((3, 4), 0.1))
        assert (found.shape, found.dtype) == ((3, 4), torch.float32)
        assert torch.allclose(found[1, 2], dual(activation, a[1, 0], b[2], torch.tensor(0.1)))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: dual("rely", A, B, S), InputError, r"^activation='rely' is not one of .*; did you mean 'relu'\?$"),
        (lambda: dual(3, A, B, S), InputError, "^activation=3 must be one of relu, "),
        (lambda: activations_of(("relu",), 2), InputError, r"^activation=\('relu',\) must be one for all layers, or 2"),
        (lambda: dual_derivative("step", A, B, S), UnsupportedError, "^activation='step' has a derivative of 0"),
    ],
    ids=["name", "type", "count", "step"],
)
def test_bad_input(make, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
