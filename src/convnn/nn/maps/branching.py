"""Two layers side by side, mixed by a 1x1 convolution."""

from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from convnn.errors import check_fraction
from convnn.nn import functional as F
from convnn.nn._factory import LayerFactory
from convnn.nn.maps._layer import MapLayer
from convnn.nn.maps.attention import ConvNNAttention, ConvNNAttention1d, ConvNNAttention2d
from convnn.nn.maps.convnn import ConvNN, ConvNN1d, ConvNN2d

Self = TypeVar("Self", bound="Branching")


class Branching(MapLayer):
    r"""Two layers that read the same map, concatenated and mixed.

    .. math:: y = W \, [\, f_1(x) ; f_2(x) \,] + b

    :math:`f_1` makes :math:`\lfloor` out_channels * branch_ratio :math:`\rfloor` channels and :math:`f_2` the rest; a
    branch without channels is left out.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        branch1: makes the first layer from its input and output channels; ConvNN with K = 9 when None.
        branch2: makes the second; a 3 x 3 convolution when None.
        branch_ratio: share of the output channels that come from the first, 0 to 1.
        device: where the 1x1 convolution lives.
        dtype: of the 1x1 convolution.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S).

    Raises:
        InputError: the ratio lies outside [0, 1]; in forward: the branches make maps of different sizes.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137.
    """

    convnn: ClassVar[type[ConvNN]]
    convnn_attention: ClassVar[type[ConvNNAttention]]
    conv: ClassVar[type[nn.Conv1d] | type[nn.Conv2d]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        branch1: LayerFactory | None = None,
        branch2: LayerFactory | None = None,
        *,
        branch_ratio: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        check_fraction("branch_ratio", branch_ratio)
        self.branch_ratio = branch_ratio
        first = int(out_channels * branch_ratio + 1e-6)  # 100 * 0.29 is 28.999999999999996
        second = out_channels - first
        branch1 = branch1 or self.convnn
        branch2 = branch2 or partial(self.conv, kernel_size=3, padding="same")
        self.branch1 = branch1(in_channels, first) if first else None
        self.branch2 = branch2(in_channels, second) if second else None
        self.pointwise = nn.Linear(out_channels, out_channels, device=device, dtype=dtype)

    @classmethod
    def with_convnn(
        cls: type[Self],
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        branch_ratio: float = 0.5,
        **settings: Any,
    ) -> Self:
        """The published Branching layer: ConvNN with these settings beside a convolution of `kernel_size`."""
        return cls._beside_conv(cls.convnn, in_channels, out_channels, kernel_size, branch_ratio, settings)

    @classmethod
    def with_attention(
        cls: type[Self],
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        branch_ratio: float = 0.5,
        **settings: Any,
    ) -> Self:
        """The published Branching_Attn layer: ConvNNAttention with these settings beside a convolution."""
        return cls._beside_conv(cls.convnn_attention, in_channels, out_channels, kernel_size, branch_ratio, settings)

    @classmethod
    def _beside_conv(
        cls: type[Self],
        layer: type[nn.Module],
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        branch_ratio: float,
        settings: dict[str, Any],
    ) -> Self:
        branch1 = partial(layer, **settings)
        branch2 = partial(cls.conv, kernel_size=kernel_size, padding="same")
        return cls(in_channels, out_channels, branch1, branch2, branch_ratio=branch_ratio)

    def _forward(self, x: Tensor) -> Tensor:
        branches = [branch for branch in (self.branch1, self.branch2) if branch is not None]
        return F.branching(x, branches, self.pointwise.weight, self.pointwise.bias)

    def extra_repr(self) -> str:
        """Channels and ratio."""
        return f"{super().extra_repr()}, branch_ratio={self.branch_ratio}"


class Branching1d(Branching):
    """`Branching` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1
    convnn = ConvNN1d
    convnn_attention = ConvNNAttention1d
    conv = nn.Conv1d


class Branching2d(Branching):
    """`Branching` on images: (B, C, H, W).

    Example:
        >>> layer = Branching2d.with_convnn(3, 8, K=9, branch_ratio=0.25)
        >>> layer(torch.randn(2, 3, 16, 20)).shape
        torch.Size([2, 8, 16, 20])
    """

    spatial_dims: ClassVar[int] = 2
    convnn = ConvNN2d
    convnn_attention = ConvNNAttention2d
    conv = nn.Conv2d
