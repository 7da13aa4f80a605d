"""Large sparse kernels put together from shifted small ones, in the place of a convolution."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from convnn.errors import InputError, check_fraction
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker, Convolution
from convnn.nn.kernels.shifted import ShiftedSum2d


def ghosts_of(channels: int, ghost_ratio: float) -> int:
    """Return how many channels pass unchanged: all but an even number, as published.

    Raises:
        InputError: the ratio is outside [0, 1].
    """
    check_fraction("ghost_ratio", ghost_ratio)
    return channels - int(channels * (1 - ghost_ratio)) // 2 * 2


class ShiftWise2d(MapLayer):
    r"""`ShiftedSum2d`, large sparse kernels put together from small ones, and a 1x1 convolution.

    .. math:: y = W f(x) + b

    or, where the input has too few channels for f, :math:`y = f(W x + b)`.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        big_kernel: length that the bands of small kernels should have; it may be larger than the map.
        small_kernel: side of the small kernels, an odd number.
        ghost_ratio: share of the channels without a kernel; the others are an even number.
        N_path: number of kernels that are summed to a small one.
        N_rep: number of permutations of the small kernels in each band.
        band_norm: normalise bands and square.
        sparsity: share of the small kernels that training prunes.
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window, on the map continued by zeros.
        bias: add the learned b.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W').

    Raises:
        InputError: an argument is out of range, or neither number of channels leaves two for the kernels; in forward:
            there is a single value to train the normalisation on.

    Reference:
        "ShiftwiseConv", arXiv 2401.12736, whose networks have a sparsity of 0.3. Their training starts with the small
        kernels of the largest products with their gradients, and grows others at random; how often, and how many, is
        ours: `convnn.train` exchanges 30 % of those kept at the start of every epoch.

    Example:
        >>> ShiftWise2d(8, 16, big_kernel=13)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        big_kernel: int = 51,
        small_kernel: int = 3,
        ghost_ratio: float = 0.23,
        N_path: int = 2,
        N_rep: int = 4,
        band_norm: bool = True,
        sparsity: float = 0.0,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_groups(groups, in_channels, out_channels)
        self.is_first = ghosts_of(in_channels, ghost_ratio) < in_channels
        channels = in_channels if self.is_first else out_channels
        if ghosts_of(channels, ghost_ratio) == channels:
            raise InputError(f"ghost_ratio={ghost_ratio} leaves fewer than two of {channels} channels for the kernels")
        self.ghost_ratio, self.groups = ghost_ratio, groups
        self.settings_of_kernels = {"big_kernel": big_kernel, "small_kernel": small_kernel}
        self.form = {"N_path": (N_path, 2), "N_rep": (N_rep, 4), "band_norm": (band_norm, True)}
        self.sparsity = sparsity
        self.places = Places(Grid(window_size, stride, padding, dilation), 2)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.operator = ShiftedSum2d(
            channels,
            ghosts=ghosts_of(channels, ghost_ratio),
            big_kernel=big_kernel,
            small_kernel=small_kernel,
            N_path=N_path,
            N_rep=N_rep,
            band_norm=band_norm,
            sparsity=sparsity,
            backend=backend,
            **where,
        )
        self.pointwise = ConvMaker(2, **where).pointwise(in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        if self.is_first:
            return like(x, self.pointwise(self.places.of(self._in_order(self.operator(x)))))
        return like(x, self.places.of(self._in_order(self.operator(self.pointwise(x)))))

    def _in_order(self, x: Tensor) -> Tensor:
        """Return the channels in the order of the input, so that groups stay apart."""
        return x[:, self.operator.channels.argsort()]

    def last_convolution(self) -> Convolution | None:
        """Return the 1x1 convolution, if it comes last."""
        return self.pointwise if self.is_first else None

    def settings(self) -> Iterable[object]:
        """Return kernels, ghosts, geometry and groups."""
        yield written(**self.settings_of_kernels, ghost_ratio=self.ghost_ratio)
        yield unless_usual(**self.form, sparsity=(self.sparsity, 0.0))
        yield from (self.places, unless_usual(groups=(self.groups, 1)))
