"""Long convolutions of each channel with taps by the lag, over signals and over maps read row by row."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.generated.operator import GeneratedConv
from convnn.nn.kernels.convolution import ConvMaker, Convolution
from convnn.nn.kernels.lags import TapsOfLags
from convnn.nn.kernels.pyramid import PyramidKernel
from convnn.nn.kernels.squashed import SquashedKernel


class LagConv(nn.Module):
    r"""A convolution over all positions of a map, in raster order, with a kernel for each channel and head.

    .. math:: y_{cht} = D_{ch} x_{ht} + \sum_{s \le t} k_{ch}(t - s) \, x_{hs}
        \left[ + \sum_{s > t} k'_{ch}(s - t - 1) \, x_{hs} \right]

    The second sum is that of a bidirectional kernel. On a map a lag is a number of rows and columns together: the right
    end of a row is next to the left end of the following one, and another width is another kernel.

    Args:
        kernel: the taps, of `PyramidKernel` or `SquashedKernel`.
        weight_dropout: share of the taps that are left out in training.
        use_fft: "auto", "never", "always", or "butterfly".

    Shapes:
        input (B, C, \*S); output (B, heads C, \*S), the channels of a head together.
    """

    def __init__(self, kernel: TapsOfLags, *, weight_dropout: float = 0.0, use_fft: str = "auto") -> None:
        super().__init__()
        self.heads, self.channels, self.length = kernel.heads, kernel.channels, kernel.length
        self.conv = GeneratedConv(
            kernel,
            horizon="full" if kernel.bidirectional else "same",
            causal=not kernel.bidirectional,
            groups=kernel.channels,
            bias=False,
            weight_dropout=weight_dropout,
            use_fft=use_fft,
        )
        some = next(kernel.parameters())
        self.D = nn.Parameter(torch.randn(kernel.heads, kernel.channels, device=some.device, dtype=some.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, heads C, *S)."""
        signal = x.flatten(2)
        heads = self.conv(signal).unflatten(1, (self.channels, self.heads)).transpose(1, 2)
        out = heads + (self.D.unsqueeze(-1) * signal.unsqueeze(1)).to(heads.dtype)
        return out.flatten(1, 2).unflatten(2, x.shape[2:])


def described(operator: LagConv, places: Places, groups: int) -> Iterable[object]:
    """Return what `extra_repr` shows of a long convolution: number of lags, geometry and groups."""
    conv = operator.conv
    yield written(lags=operator.length)
    yield unless_usual(bidirectional=(not conv.horizon.causal, True), use_fft=(conv.use_fft, "auto"))
    yield from (places, unless_usual(groups=(groups, 1)))


class SGConv(MapLayer):
    r"""A long convolution with a structured kernel: blocks of growing length, interpolated and decaying.

    .. math:: y = W (k * x + D \odot x) + b

    with the k of `PyramidKernel` for each channel, over all positions in raster order.

    Args:
        in_channels: number of input channels, each with its own kernel.
        out_channels: number of output channels.
        l_max: number of positions of the largest map.
        kernel_dim: number of values of a block.
        n_scales: number of blocks; None: as many as cover `l_max`.
        decay_min, decay_max: factor between a block and the next, of the first and of the last channel.
        bidirectional: positions before and after; without, only those before.
        kernel_mode: "cat_randn", or another mode of `PyramidKernel`.
        heads: number of kernels for each channel, all of which the 1x1 convolution reads.
        use_fft: "auto", "never", "always", or "butterfly".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window.
        bias: add the learned b.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Li et al., "What Makes Convolutional Models Great on Long Sequence Modeling?", arXiv 2210.09298.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        l_max: int = 1024,
        kernel_dim: int = 32,
        n_scales: int | None = None,
        decay_min: float = 2.0,
        decay_max: float = 2.0,
        bidirectional: bool = True,
        kernel_mode: str = "cat_randn",
        heads: int = 1,
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
        self.places, self.groups = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims), groups
        of_kernel: dict[str, Any] = {"decay_min": decay_min, "decay_max": decay_max, "mode": kernel_mode}
        kernel = PyramidKernel(
            in_channels,
            heads=heads,
            l_max=l_max,
            kernel_dim=kernel_dim,
            n_scales=n_scales,
            bidirectional=bidirectional,
            **of_kernel,
            device=device,
            dtype=dtype,
        )
        self.operator = LagConv(kernel, use_fft=use_fft)
        make = ConvMaker(self.spatial_dims, device, dtype)
        self.pointwise = make.pointwise(heads * in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.places.of(self.operator(x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return the number of lags, geometry and groups."""
        return described(self.operator, self.places, self.groups)


class SGConv1d(SGConv):
    """`SGConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class SGConv2d(SGConv):
    """`SGConv` on images: (B, C, H, W).

    Example:
        >>> SGConv2d(8, 16, l_max=196, kernel_dim=8)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class SGConv3d(SGConv):
    """`SGConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3


class LongConv(MapLayer):
    r"""A long convolution with free taps, of which small ones are squashed to 0.

    .. math:: y = W (\bar k * x + D \odot x) + b

    with the :math:`\bar k` of `SquashedKernel` for each channel, over all positions in raster order.

    Args:
        in_channels: number of input channels, each with its own kernel.
        out_channels: number of output channels.
        l_max: number of lags, that of the positions of the largest map.
        lam: how much every tap is brought nearer to 0.
        ma_window_len: width of a moving average over the taps before, an odd number; 0: none.
        smooth_freq: average the spectrum instead.
        weight_init: "random" or "double_exp".
        bidirectional: positions before and after; without, only those before.
        weight_dropout: share of the taps that are left out in training.
        heads: number of kernels for each channel, all of which the 1x1 convolution reads.
        use_fft: "auto", "never", "always", or "butterfly".
        groups: number of blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution that it replaces; it computes the middle of
            each window.
        bias: add the learned b.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range.

    Reference:
        Fu, Epstein et al., "Simple Hardware-Efficient Long Convolutions for Sequence Modeling", arXiv 2302.06646.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        l_max: int = 1024,
        lam: float = 0.001,
        ma_window_len: int = 0,
        smooth_freq: bool = False,
        weight_init: str = "random",
        bidirectional: bool = True,
        weight_dropout: float = 0.0,
        heads: int = 1,
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
        self.places, self.groups = Places(Grid(window_size, stride, padding, dilation), self.spatial_dims), groups
        of_kernel: dict[str, Any] = {"ma_window_len": ma_window_len, "smooth_freq": smooth_freq}
        kernel = SquashedKernel(
            in_channels,
            heads=heads,
            l_max=l_max,
            lam=lam,
            weight_init=weight_init,
            bidirectional=bidirectional,
            **of_kernel,
            device=device,
            dtype=dtype,
        )
        self.operator = LagConv(kernel, weight_dropout=weight_dropout, use_fft=use_fft)
        make = ConvMaker(self.spatial_dims, device, dtype)
        self.pointwise = make.pointwise(heads * in_channels, out_channels, groups=groups, bias=bias)

    def _forward(self, x: Tensor) -> Tensor:
        return like(x, self.pointwise(self.places.of(self.operator(x))))

    def last_convolution(self) -> Convolution:
        """Return the 1x1 convolution."""
        return self.pointwise

    def settings(self) -> Iterable[object]:
        """Return the number of lags, geometry and groups."""
        return described(self.operator, self.places, self.groups)


class LongConv1d(LongConv):
    """`LongConv` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class LongConv2d(LongConv):
    """`LongConv` on images: (B, C, H, W).

    Example:
        >>> LongConv2d(8, 16, l_max=196)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class LongConv3d(LongConv):
    """`LongConv` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
