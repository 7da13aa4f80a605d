"""Kernels that are functions of the offset, one for every pair of an input and an output channel."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.functions.convolve import Targets
from convnn.nn.functions.generated import GeneratedConv
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


def targets_of(places: Places, x: Tensor) -> list[Targets]:
    """Return the positions of a map (B, C, *S) that a layer computes."""
    return [Targets(*computed) for computed in places.computed(x.shape[2:])]


def described(operator: GeneratedConv, places: Places) -> Iterable[object]:
    """Return what `extra_repr` shows of a layer with a generated kernel: reach, geometry and groups."""
    yield written(horizon=operator.horizon.sides)
    yield unless_usual(causal=(operator.horizon.causal, False), use_fft=(operator.use_fft, "auto"))
    yield from (places, unless_usual(groups=(operator.groups, 1)))
