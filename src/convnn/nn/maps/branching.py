"""Two layers in parallel, mixed by a 1x1 convolution."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from convnn.errors import check_fraction
from convnn.nn import functional as F
from convnn.nn._factory import LayerFactory
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import check_groups
from convnn.nn._layer import MapLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.maps.attention import ConvNNAttn, ConvNNAttn1d, ConvNNAttn2d, ConvNNAttn3d
from convnn.nn.maps.conv_new import Conv1dNew, Conv2dNew, Conv3dNew, ConvNew
from convnn.nn.maps.convnn import ConvNN, ConvNN1d, ConvNN2d, ConvNN3d

Self = TypeVar("Self", bound="Branching")


class Branching(MapLayer):
    r"""Two layers on the same map, concatenated and mixed.

    .. math:: y = W \, [\, f_1(x) ; f_2(x) \,] + b

    :math:`f_1` has :math:`\lfloor` out_channels * branch_ratio :math:`\rfloor` channels, a multiple of out_channels /
    groups, and :math:`f_2` the rest; a branch without channels is left out. With groups, a branch reads the input
    channels of the groups that it computes.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        branch1: function from input and output channels to the first layer; None is ConvNN with K = 9.
        branch2: function to the second layer; None is a 3 x 3 convolution.
        branch_ratio: share of the output channels that the first layer computes, 0 to 1.
        groups: number of blocks of channels that the branches do not mix; if there are several, branches are called
            with `groups=`, their share of them. The final 1x1 convolution mixes all channels.
        device: device of the 1x1 convolution.
        dtype: data type of the 1x1 convolution.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S'), S' as the branches compute it.

    Raises:
        InputError: the ratio is outside [0, 1], or the groups do not divide the channels; in forward: the outputs of
            the branches have different sizes, or a kernel does not fit in the map.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137.
    """

    convnn: ClassVar[type[ConvNN]]
    convnn_attention: ClassVar[type[ConvNNAttn]]
    conv: ClassVar[type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]]
    conv_new: ClassVar[type[ConvNew]]
    settings_elsewhere: ClassVar[str] = ", and those of ConvNN are read by its constructor with_convnn"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        branch1: LayerFactory | None = None,
        branch2: LayerFactory | None = None,
        branch_ratio: float = 0.5,
        groups: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_fraction("branch_ratio", branch_ratio)
        check_groups(groups, in_channels, out_channels)
        self.branch_ratio = branch_ratio
        self.groups = groups
        a_group = out_channels // groups if groups > 1 else 1
        first = int(out_channels * branch_ratio + 1e-6) // a_group * a_group  # 100 * 0.29 is 28.999999999999996
        self.branch_channels = first, out_channels - first
        self.widths = None if groups == 1 else [in_channels * n // out_channels for n in self.branch_channels if n]
        self.branch1 = self._branch(branch1 or self.convnn, first)
        self.branch2 = self._branch(branch2 or partial(self.conv, kernel_size=3, padding="same"), out_channels - first)
        self.pointwise = nn.Linear(out_channels, out_channels, device=device, dtype=dtype)

    def _branch(self, make: LayerFactory, out_channels: int) -> nn.Module | None:
        if not out_channels:
            return None
        if self.groups == 1:
            return make(self.in_channels, out_channels)
        groups = self.groups * out_channels // self.out_channels
        return make(self.in_channels * groups // self.groups, out_channels, groups=groups)

    @classmethod
    def with_convnn(
        cls: type[Self],
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        branch_ratio: float = 0.5,
        groups: int = 1,
        **settings: Any,
    ) -> Self:
        """Create the published Branching layer: ConvNN with these settings and a convolution of `kernel_size`."""
        sizes = in_channels, out_channels, kernel_size
        return cls._beside_conv(cls.convnn, *sizes, settings, branch_ratio=branch_ratio, groups=groups)

    @classmethod
    def with_attention(
        cls: type[Self],
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        branch_ratio: float = 0.5,
        groups: int = 1,
        **settings: Any,
    ) -> Self:
        """Create the published Branching_Attn layer: ConvNNAttn with these settings and a convolution."""
        sizes = in_channels, out_channels, kernel_size
        return cls._beside_conv(cls.convnn_attention, *sizes, settings, branch_ratio=branch_ratio, groups=groups)

    @classmethod
    def _beside_conv(
        cls: type[Self],
        layer: type[nn.Module],
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        settings: dict[str, Any],
        **mixing: Any,
    ) -> Self:
        """Add a convolution whose output has the same size, with the same window if one is given."""
        shared = "stride", "dilation", "padding_mode", "bias", "device", "dtype"
        of_conv: dict[str, Any] = {name: settings[name] for name in shared if name in settings}
        of_conv["kernel_size"] = kernel_size
        is_strided = settings.get("stride", 1) != 1
        if "window_size" in settings:
            of_conv["padding"] = settings.get("padding", 1)
        else:
            of_conv["padding"] = _half(kernel_size) if is_strided else "same"
        where = {name: settings[name] for name in ("device", "dtype") if name in settings}
        conv = cls.conv_new if is_strided and of_conv["padding"] == "same" else cls.conv  # torch has no such padding
        branch2 = partial(conv, **of_conv)
        branch1 = partial(layer, **settings)
        return cls(in_channels, out_channels, branch1=branch1, branch2=branch2, **mixing, **where)

    def _forward(self, x: Tensor) -> Tensor:
        branches = [branch for branch in (self.branch1, self.branch2) if branch is not None]
        for branch in branches:
            if isinstance(branch, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                _check_fits(branch, x.shape[2:])
        return F.branching(x, branches, self.pointwise.weight, self.pointwise.bias, widths=self.widths)

    def settings(self) -> Iterable[object]:
        """Return ratio and groups."""
        return written(branch_ratio=self.branch_ratio), unless_usual(groups=(self.groups, 1))


def _check_fits(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d, size: Sequence[int]) -> None:
    """Refuse a map of a size that a convolution of torch does not accept.

    Raises:
        InputError: its kernel does not fit, or its padding is too wide.
    """
    padding = 0 if conv.padding == "valid" else conv.padding
    Grid(conv.kernel_size, conv.stride, padding, conv.dilation, conv.padding_mode).check(size, "kernel_size")


def _half(kernel_size: Sides) -> Sides:
    return tuple(side // 2 for side in kernel_size) if isinstance(kernel_size, tuple) else kernel_size // 2


class Branching1d(Branching):
    """`Branching` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1
    convnn = ConvNN1d
    convnn_attention = ConvNNAttn1d
    conv = nn.Conv1d
    conv_new = Conv1dNew


class Branching2d(Branching):
    """`Branching` on images: (B, C, H, W).

    Example:
        >>> layer = Branching2d.with_convnn(3, 8, K=9, branch_ratio=0.25)
        >>> layer(torch.randn(2, 3, 16, 20)).shape
        torch.Size([2, 8, 16, 20])
    """

    spatial_dims: ClassVar[int] = 2
    convnn = ConvNN2d
    convnn_attention = ConvNNAttn2d
    conv = nn.Conv2d
    conv_new = Conv2dNew


class Branching3d(Branching):
    """`Branching` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
    convnn = ConvNN3d
    convnn_attention = ConvNNAttn3d
    conv = nn.Conv3d
    conv_new = Conv3dNew
