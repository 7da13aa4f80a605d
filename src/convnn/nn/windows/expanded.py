"""Convolutions of functions of the channels: KAN convolutions."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.backends._windows import CONVOLVE
from convnn.errors import check_fraction
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides, check_sides, each_side
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import convolve_on
from convnn.nn.kernels.expansion import checked_expansion
from convnn.nn.kernels.kan import BASE_ACTIVATIONS, FORMS, check_norm, checked_form, drop_channels, make_norm


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
        chosen = checked_form(basis, base_activation, norm_layer)
        check_fraction("dropout", dropout)
        self.basis, self.groups, self.activate, self.dropout = basis, groups, activate, dropout
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        self.base_activation, self.norm_layer = chosen.base, chosen.norm
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        sides = each_side("kernel_size", kernel_size, self.spatial_dims)
        expansion = checked_expansion(
            basis, degree, spline_order, grid_size, grid_range, wavelet_type, jacobi_a, jacobi_b
        )
        self.degree, self.spline_order, self.functions = degree, spline_order, expansion.functions
        self.grid_size, self.grid_range = expansion.intervals, expansion.ends
        self.expand = expansion.make(in_channels, out_channels, groups, math.prod(sides), **where)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups * self.functions, *sides, **where))
        self.base_weight: nn.Parameter | None = None
        self.base: nn.Module | None = None
        if self.base_activation != "none":
            self.base = BASE_ACTIVATIONS[self.base_activation]()
            self.base_weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *sides, **where))
        self.mix: nn.Parameter | None = None
        if basis == "wavelet":
            ones = (1,) * self.spatial_dims
            self.mix = nn.Parameter(torch.empty(out_channels, out_channels // groups, *ones, **where))
        self.bias = nn.Parameter(torch.empty(out_channels, **where)) if bias else None
        self.norm = make_norm(
            self.norm_layer, self.spatial_dims, in_channels if basis == "rbf" else out_channels, **where
        )
        self.activation = chosen.make_activation(groups, **where) if activate else nn.Identity()
        self.reset_parameters()

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
        check_norm(self.norm_layer, self.norm, x)
        is_first = FORMS[self.basis].dropout_first
        dropout = self.dropout if self.training else 0.0
        wide = drop_channels(x, dropout) if is_first else x
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
        return like(x, out if is_first else drop_channels(out, dropout))

    def settings(self) -> Iterable[object]:
        """Return basis and form, window, geometry and groups."""
        yield written(kernel_size=self.grid.window_size, basis=self.basis)
        usual = FORMS[self.basis]
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
