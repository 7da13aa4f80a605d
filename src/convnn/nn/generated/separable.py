"""Kernels that are functions of the offset, one for each channel, with a 1x1 convolution: one layer for any axes."""

from collections.abc import Iterable
from math import prod, sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn.generated._layer import described, targets_of
from convnn.nn.generated.operator import GeneratedConv
from convnn.nn.kernels.convolution import ConvMaker, Convolution
from convnn.nn.kernels.gabor import REACH_OF_FILTERS, GaborKernel, GaussianMask, MaskedKernel

EPSILON = 1e-8


class CCNNConv(MapLayer):
    r"""A kernel for each channel, a network of the offset times a Gaussian, and a 1x1 convolution.

    .. math:: u_{it} = b_i + \sum_d K_i(d) \, m(d) \, x_{i, t + d}, \qquad y_{ot} = c_o + \sum_i W_{oi} u_{it}

    with the K of `GaborKernel` in its second initialisation, which keeps the variance of the input, and the m of
    `GaussianMask` with a fixed mean. Taps at which m is below the threshold are left out.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        horizon: largest number of taps along each axis, or one for each, odd unless causal; "same": as many as the map
            has positions; "full": from one end of the map to the other, on both sides.
        causal: only positions before, on signals.
        no_hidden: number of filters in each layer of the network.
        no_layers: number of its linear layers before the last.
        omega_0: initial frequency of the filters.
        mask_init_value: initial width of the Gaussian, in units of the extent.
        mask_threshold: value of the Gaussian below which taps are left out.
        l_max: positions along each axis for which the initial kernel is scaled, where the horizon is no number.
        use_fft: "auto", "never", "always", or "butterfly".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add the learned b and c.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Knigge, Romero et al., "Modelling Long Range Dependencies in N-D: From Task-Specific to a General Purpose CNN",
        arXiv 2301.10540, section 4.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        horizon: Sides | str = "33",
        causal: bool = False,
        no_hidden: int = 32,
        no_layers: int = 3,
        omega_0: float = 2085.43,
        mask_init_value: float = 0.075,
        mask_threshold: float = 0.1,
        l_max: int = 1024,
        use_fft: str = "auto",
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        check_at_least("l_max", l_max, 1)
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        self.groups = groups
        of_all: dict[str, Any] = {"device": device, "dtype": dtype}
        kernel = GaborKernel(
            self.spatial_dims,
            in_channels,
            1,
            no_hidden=no_hidden,
            no_layers=no_layers,
            omega_0=omega_0,
            init_spatial_value=REACH_OF_FILTERS * mask_init_value,
            causal=causal,
            **of_all,
        )
        mask = ccnn_mask(self.spatial_dims, mask_init_value, mask_threshold, causal=causal, **of_all)
        reach: dict[str, Any] = {"horizon": horizon, "causal": causal, "use_fft": use_fft}
        self.operator = GeneratedConv(MaskedKernel(kernel, mask), **reach, groups=in_channels, bias=bias, **of_all)
        keep_variance(self.operator, kernel, (l_max,) * self.spatial_dims)
        make = ConvMaker(self.spatial_dims, device, dtype)
        self.pointwise = make.pointwise(in_channels, out_channels, groups=groups, bias=bias)
        nn.init.kaiming_normal_(self.pointwise.weight)
        if self.pointwise.bias is not None:
            nn.init.zeros_(self.pointwise.bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.operator(x, targets_of(self.places, x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return the reach, geometry and groups."""
        return described(self.operator, self.places, self.groups)


def ccnn_mask(axes: int, init_value: float, threshold: float, **settings: Any) -> GaussianMask:
    """Create the mask of CCNN: its mean is fixed, and it keeps a tap more than FlexConv's in the past."""
    return GaussianMask(axes, init_value, threshold, learn_mean=False, epsilon=EPSILON, slack=1, **settings)


@torch.no_grad()
def keep_variance(conv: GeneratedConv, kernel: GaborKernel, size: tuple[int, ...]) -> None:
    """Scale the last layer of a kernel network so that a convolution keeps the variance of its input.

    The factor is one over the root of the number of taps on a map of some size and of input channels, as in Chang et
    al., "Principled Weight Initialization for Hypernetworks".
    """
    if not kernel.output.weight.is_meta:  # whose mask has no values
        kernel.output.scale(1 / sqrt(kernel.in_channels * prod(conv.sides(size))))


class CCNNConv1d(CCNNConv):
    """`CCNNConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class CCNNConv2d(CCNNConv):
    """`CCNNConv` on images: (B, C, H, W).

    Example:
        >>> CCNNConv2d(8, 16)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class CCNNConv3d(CCNNConv):
    """`CCNNConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
