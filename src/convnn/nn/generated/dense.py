"""Kernels that are functions of the offset, one for every pair of an input and an output channel."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn.generated._layer import described, targets_of
from convnn.nn.generated.operator import GeneratedConv
from convnn.nn.kernels.function import as_horizon
from convnn.nn.kernels.gabor import REACH_OF_FILTERS, GaborKernel, GaussianMask, MaskedKernel
from convnn.nn.kernels.points import PointKernel
from convnn.nn.kernels.siren import SirenKernel


class CKConv(MapLayer):
    r"""A continuous kernel: a small network of the offset, convolved with all channels.

    .. math:: y_{ot} = b_o + \sum_{i, d} K_{oi}(d) \, x_{i, t + d}

    with the network K of `SirenKernel`. The number of weights does not depend on how far the kernel reaches.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        horizon: number of taps along each axis, or one for each, odd unless causal; "same": as many as the map has
            positions; "full": from one end of the map to the other, on both sides.
        causal: only positions before, on signals.
        no_hidden: width of the network.
        no_layers: number of its linear layers.
        omega_0: its frequency, which decides how fast the kernel can vary.
        weight_norm: learn length and direction of its rows, as published for signals.
        weight_dropout: share of the kernel's values that are left out in training.
        use_fft: "auto", "never", "always", or "butterfly".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add a learned bias to the output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", arXiv 2102.02611; on images in the
        form of "FlexConv", arXiv 2110.08059.
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
        omega_0: float = 30.0,
        weight_norm: bool = False,
        weight_dropout: float = 0.0,
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
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        kernel = SirenKernel(
            self.spatial_dims,
            out_channels,
            in_channels // groups,
            no_hidden=no_hidden,
            no_layers=no_layers,
            omega_0=omega_0,
            weight_norm=weight_norm,
            device=device,
            dtype=dtype,
        )
        self.operator = GeneratedConv(
            kernel,
            horizon=horizon,
            causal=causal,
            groups=groups,
            bias=bias,
            weight_dropout=weight_dropout,
            smooth=causal,
            use_fft=use_fft,
            device=device,
            dtype=dtype,
        )

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.operator(x, targets_of(self.places, x)))

    def settings(self) -> Iterable[object]:
        """Return the reach, geometry and groups."""
        return described(self.operator, self.places)


class CKConv1d(CKConv):
    """`CKConv` on signals: (B, C, T).

    Example:
        >>> CKConv1d(1, 4, horizon="same", causal=True)(torch.randn(2, 1, 97)).shape
        torch.Size([2, 4, 97])
    """

    spatial_dims: ClassVar[int] = 1


class CKConv2d(CKConv):
    """`CKConv` on images: (B, C, H, W).

    Example:
        >>> CKConv2d(8, 16, horizon=9)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class CKConv3d(CKConv):
    """`CKConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3


class SMPConv(MapLayer):
    r"""A kernel interpolated from points that move: each has a learned place, radius and weights.

    .. math:: y_{ot} = b_o + \sum_{i, d} K_{oi}(d) \, x_{i, t + d}

    with the K of `PointKernel`, whose points belong to an output channel.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        horizon: number of taps along each axis, or one for each, odd unless causal; "same": as many as the map has
            positions; "full": from one end of the map to the other, on both sides.
        causal: only positions before, on signals.
        n_points: number of points of every output.
        radius: their initial radius, in units of the kernel's extent; None: 4 / horizon, which reaches the next tap.
        coord_std: standard deviation of their initial places.
        use_fft: "auto", "never", "always", or "butterfly".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add a learned bias to the output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range, or the radius is missing with a horizon that is no number.

    Reference:
        Kim and Park, "SMPConv: Self-moving Point Representations for Continuous Convolution", arXiv 2304.02330.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        horizon: Sides | str = "33",
        causal: bool = False,
        n_points: int = 16,
        radius: float | None = None,
        coord_std: float = 0.05,
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
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        of_all: dict[str, Any] = {"device": device, "dtype": dtype}
        kernel = PointKernel(
            self.spatial_dims,
            out_channels,
            in_channels // groups,
            n_points=n_points,
            radius=_radius_for(as_horizon(horizon)) if radius is None else radius,
            coord_std=coord_std,
            causal=causal,
            **of_all,
        )
        reach: dict[str, Any] = {"horizon": horizon, "causal": causal, "use_fft": use_fft}
        self.operator = GeneratedConv(kernel, **reach, groups=groups, bias=bias, **of_all)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.operator(x, targets_of(self.places, x)))

    def settings(self) -> Iterable[object]:
        """Return the reach, geometry and groups."""
        return described(self.operator, self.places)


def _radius_for(horizon: Sides | str) -> float:
    if isinstance(horizon, str):
        raise InputError(f"radius=None is 4 / horizon, and horizon={horizon!r} is no number; give one, such as 0.002")
    return min(1.0, 4 / max(horizon if isinstance(horizon, tuple) else (horizon, 1)))


class SMPConv1d(SMPConv):
    """`SMPConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class SMPConv2d(SMPConv):
    """`SMPConv` on images: (B, C, H, W).

    Example:
        >>> SMPConv2d(8, 16, horizon=9)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class SMPConv3d(SMPConv):
    """`SMPConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3


class FlexConv(MapLayer):
    r"""A kernel whose size is learned: a network of Gabor filters times a Gaussian.

    .. math:: y_{ot} = b_o + \sum_{i, d} K_{oi}(d) \, m(d) \, x_{i, t + d}

    with the K of `GaborKernel` and the m of `GaussianMask`. Taps at which m is below the threshold are left out, so
    that a small kernel also costs little.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        horizon: largest number of taps along each axis, or one for each, odd unless causal; "same": as many as the map
            has positions; "full": from one end of the map to the other, on both sides.
        causal: only positions before, on signals.
        no_hidden: number of filters in each layer of the network.
        no_layers: number of its linear layers before the last.
        input_scale: initial frequency of the filters.
        mask_init_value: initial width of the Gaussian, in units of the extent.
        mask_threshold: value of the Gaussian below which taps are left out.
        use_fft: "auto", "never", "always", or "butterfly".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add a learned bias to the output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable Kernel Sizes", arXiv 2110.08059,
        section 4.
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
        input_scale: float = 25.6,
        mask_init_value: float = 0.075,
        mask_threshold: float = 0.1,
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
        self.places = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims)
        of_all: dict[str, Any] = {"device": device, "dtype": dtype}
        mask = GaussianMask(self.spatial_dims, mask_init_value, mask_threshold, causal=causal, **of_all)
        kernel = GaborKernel(
            self.spatial_dims,
            out_channels,
            in_channels // groups,
            no_hidden=no_hidden,
            no_layers=no_layers,
            input_scale=input_scale,
            init_spatial_value=REACH_OF_FILTERS * mask_init_value,
            **of_all,
        )
        reach: dict[str, Any] = {"horizon": horizon, "causal": causal, "use_fft": use_fft}
        self.operator = GeneratedConv(MaskedKernel(kernel, mask), **reach, groups=groups, bias=bias, **of_all)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.operator(x, targets_of(self.places, x)))

    def settings(self) -> Iterable[object]:
        """Return the reach, geometry and groups."""
        return described(self.operator, self.places)


class FlexConv1d(FlexConv):
    """`FlexConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class FlexConv2d(FlexConv):
    """`FlexConv` on images: (B, C, H, W).

    Example:
        >>> layer = FlexConv2d(8, 16)
        >>> layer.operator.sampled((32, 32))[0].shape  # 5 of 33 taps along each axis, at first
        torch.Size([16, 8, 5, 5])
    """

    spatial_dims: ClassVar[int] = 2


class FlexConv3d(FlexConv):
    """`FlexConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
