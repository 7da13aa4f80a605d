"""Expansions of a map in a basis of functions, chosen by name."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from convnn.errors import InputError, check_at_least
from convnn.nn.kernels import bases
from convnn.nn.kernels.wavelets import Wavelets


@dataclass(frozen=True)
class Expansion:
    """A basis of functions with its settings, of which every basis reads only its own.

    Attributes:
        basis: "spline", "rbf", "chebyshev", "gram", "legendre", "jacobi", "relu", "wavelet" or "linear".
        degree: degree of the last polynomial.
        order: order of the splines, or how many neighbours a bump of "relu" overlaps on either side.
        intervals: number of intervals, or of Gaussians.
        ends: ends of the range.
        wavelet_type: the wavelet.
        jacobi_a, jacobi_b: exponents of the weight of Jacobi's polynomials.
    """

    basis: str
    degree: int
    order: int
    intervals: int
    ends: tuple[float, float]
    wavelet_type: str
    jacobi_a: float
    jacobi_b: float

    @property
    def functions(self) -> int:
        """The number n of functions of each channel that a kernel reads."""
        if self.basis in ("spline", "relu"):
            return self.intervals + self.order
        return {"rbf": self.intervals, "wavelet": 1, "linear": 1}.get(self.basis, self.degree + 1)

    def make(self, in_channels: int, out_channels: int, groups: int, places: int, **where: Any) -> bases.Basis:
        """Return the function from maps (B, C, *S) to the maps that are convolved, a module if anything is learned.

        Args:
            in_channels, out_channels, groups: those of the convolution.
            places: number of positions of its window.
            where: device and dtype of what is learned.
        """
        if self.basis == "relu":
            return bases.LearnedPowers(in_channels // groups, self.intervals, self.order, **where)
        if self.basis == "gram":
            return bases.GramBasis(self.degree, (places * in_channels * (self.degree + 1)) ** -0.5, **where)
        if self.basis == "wavelet":
            return Wavelets(in_channels, out_channels, groups, self.wavelet_type, **where)
        low, high = self.ends
        jacobi = partial(bases.jacobi, a=self.jacobi_a, b=self.jacobi_b)
        expansions: dict[str, bases.Basis] = {
            "spline": partial(bases.b_splines, order=self.order, intervals=self.intervals, first=low, last=high),
            "rbf": partial(bases.gaussians, number=self.intervals, first=low, last=high),
            "chebyshev": partial(bases.of_tanh, bases.chebyshev, self.degree),
            "jacobi": partial(bases.of_tanh, jacobi, self.degree),
            "legendre": partial(bases.of_range, bases.legendre, self.degree, groups),
            "linear": bases.unchanged,
        }
        return expansions[self.basis]


def checked_expansion(
    basis: str,
    degree: int,
    spline_order: int,
    grid_size: int,
    grid_range: tuple[float, float] | str,
    wavelet_type: str,
    jacobi_a: float,
    jacobi_b: float,
) -> Expansion:
    """Return the expansion of a layer's settings, in which 0 and "" stand for the usual size and range of the grid.

    Raises:
        InputError: a setting is out of range; the message names it.
    """
    check_at_least("degree", degree, 1)
    check_at_least("spline_order", spline_order, 0)
    check_at_least("grid_size", grid_size, 0)
    if basis == "rbf" and grid_size == 1:
        raise InputError("grid_size=1 must be at least 2 for basis='rbf': a Gaussian is as wide as two are apart")
    intervals, ends = (8, (-2.0, 2.0)) if basis == "rbf" else (5, (-1.0, 1.0))
    if grid_range != "":
        ends = bases.as_range("grid_range", grid_range)
    if basis == "jacobi" and not (jacobi_a > -1 and jacobi_b > -1):
        raise InputError(f"jacobi_a={jacobi_a} and jacobi_b={jacobi_b} must be above -1")
    return Expansion(basis, degree, spline_order, grid_size or intervals, ends, wavelet_type, jacobi_a, jacobi_b)
