"""Tests of kernels of a known spectrum: scikit-learn's, and their Fourier transforms by quadrature."""

import math

import numpy as np
import pytest
import torch
from sklearn.gaussian_process.kernels import Matern as Published

from convnn.errors import InputError, UnsupportedError
from convnn.learners import Gaussian, Kernel, Laplace, Linear, Matern, spectral_power
from small_graphs import features


@pytest.mark.parametrize("smoothness", [0.2, 0.5, 1.5, 3.3])
def test_agrees_with_scikit_learn(smoothness: float) -> None:
    X, Y = features(7, 3), features(5, 3, seed=2)
    theirs = Published(0.7 * math.sqrt(2 * smoothness), nu=smoothness)
    np.testing.assert_allclose(Matern(0.7, smoothness).block(X, Y), theirs(X.numpy(), Y.numpy()), rtol=1e-10)


def test_is_laplace_at_one_half_and_1_at_distance_0() -> None:
    squares = torch.tensor([0, 1e-300, 1e-20, 1e-3, 1, 1e3, 1e12], dtype=torch.double)
    torch.testing.assert_close(Matern(0.7, 0.5).of_squares(squares), Laplace(0.7).of_squares(squares))
    ends = torch.tensor([0, 1e-30, 1e24])
    torch.testing.assert_close(Matern(1.0, 30.0).of_squares(ends), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(Matern(1.0, 100).of_squares(ends.double()), torch.tensor([1.0, 1, 0]).double())


def test_gradients_of_gradients() -> None:
    squares = features(2, 3).square().requires_grad_()
    assert torch.autograd.gradgradcheck(Matern(1.1, 1.7).of_squares, squares, fast_mode=True)


def transform(kernel: Kernel, width: int) -> np.ndarray:
    """Return the Fourier transform in 1 or 3 dimensions at some frequencies, as a share of that at 0."""
    r = np.linspace(0, 60, 600_001)
    k, w = kernel.of_squares(torch.from_numpy(r**2)).numpy(), np.array([1e-3, 0.5, 1.0, 2.0])[:, None]
    found = np.trapezoid(k * (np.cos(w * r) if width == 1 else r * np.sin(w * r) / w), r, axis=1)
    return found / found[0]


@pytest.mark.parametrize(
    ("kernel", "width", "power"),
    [
        (Gaussian(1.3), 3, 0.7),
        (Laplace(1.2), 1, 0.8),
        (Laplace(1.2), 3, 0.875),
        (Matern(0.9, 2.5), 1, 0.5),
    ],
    ids=str,
)
def test_spectra_are_powers(kernel: Kernel, width: int, power: float) -> None:
    ours = spectral_power(kernel, power, width)
    np.testing.assert_allclose(transform(ours, width), transform(kernel, width) ** power, rtol=2e-3)


def test_power_is_the_root_or_halfway_to_1() -> None:
    assert spectral_power(Gaussian(2.0), None, 9) == Gaussian(math.sqrt(2))
    assert spectral_power(Matern(0.9, 2.5), None, 3) == spectral_power(Matern(0.9, 2.5), 0.5, 3)
    assert spectral_power(Laplace(1.2), None, 3) == spectral_power(Laplace(1.2), 0.875, 3)


def test_bad_input() -> None:
    for kernel, power, width, message in (
        (Gaussian(), 0.4, 2, "power=0.4 must be between 0.5 and 1"),
        (Gaussian(), 1.1, 2, "power=1.1 must be between 0.5 and 1"),
        (Laplace(), 0.5, 2, r"power=0.5 must be above 0.6667 for the kernel Laplace\(bandwidth=1.0\) in 2 dimensions"),
    ):
        with pytest.raises(InputError, match=f"^{message}$"):
            spectral_power(kernel, power, width)
    with pytest.raises(UnsupportedError, match=r"^kernel Linear\(\) has no power here; Gaussian, Laplace and Matern"):
        spectral_power(Linear(), 0.5, 2)
    with pytest.raises(InputError, match=r"^smoothness=0 must be a positive number"):
        Matern(1.0, 0)
    with pytest.raises(InputError, match=r"^smoothness=101 must be at most 100; Gaussian is its limit$"):
        Matern(1.0, 101)
