"""Convolutions of functions of the channels: KAN convolutions."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn._depthwise import CONVOLVE
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides, check_sides, each_side
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels import bases
from convnn.nn.kernels.convolution import BATCH_NORMS, check_can_normalise, convolve_on
from convnn.nn.kernels.wavelets import Wavelets

NORMS: dict[str, tuple[type[nn.Module], ...]] = {
    "batch": BATCH_NORMS,
    "instance": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
}
BASE_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "identity": nn.Identity,
}


@dataclass(frozen=True)
class _Usual:
    """What is published with a basis.

    Attributes:
        base: activation before the convolution beside the expansion; "none": there is no such convolution.
        activation: what `activate` puts at the end.
        norm: normalisation, which is before the basis for "rbf" and at the end for all others.
        dropout_first: whether dropout is before the basis instead of at the end.
    """

    base: str = "silu"
    activation: str = ""
    norm: str = "none"
    dropout_first: bool = True


USUAL = {
    "spline": _Usual("gelu", "prelu", dropout_first=False),
    "rbf": _Usual(norm="batch"),
    "chebyshev": _Usual("none", dropout_first=False),
    "gram": _Usual(activation="silu"),
    "legendre": _Usual("identity", "silu"),
    "jacobi": _Usual("identity", "silu"),
    "relu": _Usual(activation="silu"),
    "wavelet": _Usual(),
    "linear": _Usual("none"),
}
BASES = tuple(USUAL)
KAN_NORMS = ("usual", *NORMS, "none")
KAN_ACTIVATIONS = ("usual", *BASE_ACTIVATIONS, "none")


class GroupedPReLU(nn.Module):
    """PReLU with a slope for each of several blocks of channels."""

    def __init__(self, groups: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all slopes to 0.25."""
        nn.init.constant_(self.weight, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        groups = self.weight.shape[0]
        return F.prelu(x, self.weight if groups == 1 else self.weight.repeat_interleave(x.shape[1] // groups))


class KANConv(MapLayer):
    r"""A convolution of functions of every channel, beside an ordinary one.

    .. math:: y = \sigma\Big(\operatorname{norm}\Big(
        w_0 * a(x) + \sum_{i=1}^{n} w_i * \phi_i(t(x))\Big)\Big)

    Every weight of a convolution is thereby a learned function of what it multiplies, as in a Kolmogorov-Arnold
    network. The functions, by `basis`:

    - "spline": B-splines of order `spline_order` on `grid_size` (5) intervals of `grid_range` (-1 to 1);
    - "rbf": `grid_size` (8) Gaussians on `grid_range` (-2 to 2), of the normalised map;
    - "chebyshev", "gram", "jacobi": polynomials of tanh x; Gram's have learned recurrences, and SiLU after them;
    - "legendre": polynomials of x, scaled to [-1, 1] by its least and largest value in the batch, so that the output
      for an image depends on the others in its batch, in evaluation too;
    - "relu": products of two ReLUs, squared, on `grid_size` (5) learned intervals that overlap with `spline_order`;
    - "wavelet": a wavelet for each pair of channels, moved and scaled; its sums are mixed by a 1x1 convolution;
    - "linear": x itself; the layer is an ordinary convolution.

    Zero padding continues the functions, not x: outside of the map all of them are 0.

    Args:
        in_channels: number of input channels C.
        out_channels: number of output channels O.
        kernel_size: side of the window; a number, or one for each axis, as the next three.
        basis: the functions.
        degree: degree of the last polynomial.
        spline_order: order of the splines; for "relu", how many neighbours a bump overlaps on either side.
        grid_size: number of intervals, or of Gaussians; 0: the usual.
        grid_range: ends of the range, as a pair or as text such as "-1,1"; empty: the usual.
        wavelet_type: "mexican_hat", "morlet", "dog", "meyer" or "shannon".
        jacobi_a, jacobi_b: exponents of the weight of Jacobi's polynomials.
        base_activation: a: "gelu", "silu", "relu" or "identity"; "none": without w_0; "usual": as published.
        norm_layer: "batch", "instance" or "none"; before the basis for "rbf", at the end for all others. "usual":
            "batch" for "rbf", whose Gaussians need it, and "none" for all others.
        activate: end in the activation that is published with the basis: PReLU for "spline", SiLU for "gram",
            "legendre", "jacobi" and "relu", none for others.
        dropout: probability with which a channel is dropped in training: before the basis, or for "spline" and
            "chebyshev" at the end.
        stride, padding, dilation, groups, padding_mode: as in `torch.nn.Conv2d`; with "same" the map keeps its size.
        bias: add a learned bias to the sum.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C, \*S) or (C, \*S); output (B, O, \*S').

    Raises:
        InputError: an argument is out of range; in forward: the window does not fit in the map, or there is nothing to
            normalise over.

    Reference:
        Drokin, "Kolmogorov-Arnold Convolutions", arXiv 2407.01092; of its code, Gram's factors and the sign of the
        Mexican hat are kept. Weights are drawn by their true fan-in, which the code mistakes for Gram and Legendre.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        basis: str = "spline",
        degree: int = 3,
        spline_order: int = 3,
        grid_size: int = 0,
        grid_range: tuple[float, float] | str = "",
        wavelet_type: str = "mexican_hat",
        jacobi_a: float = 1.0,
        jacobi_b: float = 1.0,
        base_activation: str = "usual",
        norm_layer: str = "usual",
        activate: bool = False,
        dropout: float = 0.0,
        stride: Sides = 1,
        padding: Sides | str = "same",
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sides("kernel_size", kernel_size, 1)
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        check_choice("basis", basis, BASES)
        check_choice("base_activation", base_activation, KAN_ACTIVATIONS)
        check_choice("norm_layer", norm_layer, KAN_NORMS)
        check_fraction("dropout", dropout)
        usual = USUAL[basis]
        self.basis, self.groups, self.activate, self.dropout = basis, groups, activate, dropout
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        self.degree, self.spline_order = degree, spline_order
        self.base_activation = usual.base if base_activation == "usual" else base_activation
        self.norm_layer = usual.norm if norm_layer == "usual" else norm_layer
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        sides = each_side("kernel_size", kernel_size, self.spatial_dims)
        self.grid_size = self._checked_size(grid_size, degree, spline_order)
        usual_range = (-2.0, 2.0) if basis == "rbf" else (-1.0, 1.0)
        self.grid_range = usual_range if grid_range == "" else bases.as_range("grid_range", grid_range)
        expansion = self._make_expansion(math.prod(sides), wavelet_type, jacobi_a, jacobi_b, where)
        self.expand = expansion  # a module if anything of it is learned
        shape = (out_channels, in_channels // groups * self.functions, *sides)
        self.weight = nn.Parameter(torch.empty(shape, **where))
        self.base_weight: nn.Parameter | None = None
        self.base: nn.Module | None = None
        if self.base_activation != "none":
            self.base = BASE_ACTIVATIONS[self.base_activation]()
            self.base_weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *sides, **where))
        self.mix: nn.Parameter | None = None
        if basis == "wavelet":
            self.mix = nn.Parameter(
                torch.empty(out_channels, out_channels // groups, *(1,) * self.spatial_dims, **where)
            )
        self.bias = nn.Parameter(torch.empty(out_channels, **where)) if bias else None
        self.norm: nn.Module = nn.Identity()
        if self.norm_layer != "none":
            channels = in_channels if basis == "rbf" else out_channels
            self.norm = NORMS[self.norm_layer][self.spatial_dims - 1](channels, **where)
        self.activation: nn.Module = nn.Identity()
        if activate and usual.activation:
            self.activation = GroupedPReLU(groups, **where) if usual.activation == "prelu" else nn.SiLU()
        self.reset_parameters()

    def _checked_size(self, grid_size: int, degree: int, spline_order: int) -> int:
        """Return the number of intervals or Gaussians, after checking what the basis reads."""
        check_at_least("degree", degree, 1)
        check_at_least("spline_order", spline_order, 0)
        check_at_least("grid_size", grid_size, 0)
        if self.basis == "rbf" and grid_size == 1:
            raise InputError("grid_size=1 must be at least 2 for basis='rbf': a Gaussian is as wide as two are apart")
        return grid_size or (8 if self.basis == "rbf" else 5)

    @property
    def functions(self) -> int:
        """The number n of functions of each channel that a kernel reads."""
        if self.basis in ("spline", "relu"):
            return self.grid_size + self.spline_order
        return {"rbf": self.grid_size, "wavelet": 1, "linear": 1}.get(self.basis, self.degree + 1)

    def _make_expansion(
        self, places: int, wavelet_type: str, jacobi_a: float, jacobi_b: float, where: dict[str, Any]
    ) -> bases.Basis:
        """Return the function from maps (B, C, *S) to the maps that are convolved."""
        if self.basis == "relu":
            return bases.LearnedPowers(self.in_channels // self.groups, self.grid_size, self.spline_order, **where)
        if self.basis == "gram":
            deviation = (places * self.in_channels * (self.degree + 1)) ** -0.5
            return bases.GramBasis(self.degree, deviation, **where)
        if self.basis == "wavelet":
            return Wavelets(self.in_channels, self.out_channels, self.groups, wavelet_type, **where)
        if self.basis == "jacobi" and not (jacobi_a > -1 and jacobi_b > -1):
            raise InputError(f"jacobi_a={jacobi_a} and jacobi_b={jacobi_b} must be above -1")
        low, high = self.grid_range
        expansions: dict[str, bases.Basis] = {
            "spline": partial(bases.b_splines, order=self.spline_order, intervals=self.grid_size, first=low, last=high),
            "rbf": partial(bases.gaussians, number=self.grid_size, first=low, last=high),
            "chebyshev": partial(bases.of_tanh, bases.chebyshev, self.degree),
            "jacobi": partial(bases.of_tanh, partial(bases.jacobi, a=jacobi_a, b=jacobi_b), self.degree),
            "legendre": partial(bases.of_range, bases.legendre, self.degree, self.groups),
            "linear": bases.unchanged,
        }
        return expansions[self.basis]

    def reset_parameters(self) -> None:
        """Draw weights by their fan-in as published, normal for "chebyshev" and "jacobi", else uniform."""
        for weight in (self.weight, self.base_weight, self.mix):
            if weight is None:
                continue
            if weight is self.weight and self.basis in ("chebyshev", "jacobi"):
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
            else:
                nn.init.kaiming_uniform_(weight, nonlinearity="linear")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _forward(self, x: Tensor) -> Tensor:
        self._check_norm(x)
        is_first = USUAL[self.basis].dropout_first
        wide = self._dropped(x) if is_first else x
        if self.basis == "rbf":
            wide = self.norm(wide)
        maps = self.expand(wide)
        if maps.dim() > x.dim():
            maps = maps.flatten(1, 2)
        out = convolve_on(
            self.grid, maps, self.weight, self.bias, self.out_channels if self.mix is not None else self.groups
        )
        if self.mix is not None:
            out = CONVOLVE[self.spatial_dims - 1](out, self.mix, groups=self.groups)
        if self.base is not None and self.base_weight is not None:
            out = out + convolve_on(self.grid, self.base(x), self.base_weight, None, self.groups)
        if self.basis != "rbf":
            out = self.norm(out)
        out = self.activation(out)
        return like(x, out if is_first else self._dropped(out))

    def _check_norm(self, x: Tensor) -> None:
        if self.norm_layer == "batch":
            check_can_normalise(self.norm, x)
        elif self.norm_layer == "instance" and x.shape[2:].numel() == 1:
            raise InputError(
                f"input of {tuple(x.shape)} has one position, over which norm_layer='instance' cannot normalise; give"
                " a larger map, or norm_layer='batch'"
            )

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout2d(x.flatten(2).unsqueeze(-1), self.dropout).view_as(x) if self._drops() else x

    def _drops(self) -> bool:
        return self.training and self.dropout > 0

    def settings(self) -> Iterable[object]:
        """Return basis and form, window, geometry and groups."""
        yield written(kernel_size=self.grid.window_size, basis=self.basis)
        usual = USUAL[self.basis]
        yield unless_usual(
            base_activation=(self.base_activation, usual.base),
            norm_layer=(self.norm_layer, usual.norm),
            activate=(self.activate, False),
            dropout=(self.dropout, 0.0),
        )
        yield self.grid.changed_from(Grid(self.grid.window_size, padding="same"))
        yield unless_usual(groups=(self.groups, 1))


class KANConv1d(KANConv):
    """`KANConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class KANConv2d(KANConv):
    """`KANConv` on images: (B, C, H, W).

    Example:
        >>> KANConv2d(8, 16, basis="chebyshev", degree=4)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class KANConv3d(KANConv):
    """`KANConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
