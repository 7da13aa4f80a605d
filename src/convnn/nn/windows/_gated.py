"""What layers that gate their input share: the form around the gate, and weights for each position."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn._places import Places
from convnn.nn.kernels.convolution import ConvMaker


class Projected(nn.Module):
    r"""An operator between two 1x1 convolutions, with GELU before it, and a shortcut around all.

    .. math:: y = x' + W_2 \, f(\operatorname{GELU}(W_1 x + b_1)) + b_2

    with x' = x, or 0 if channels change.

    Args:
        make: creates the convolutions.
        in_channels: number of input channels.
        out_channels: number of output channels.
        operator: f, of as many channels as the output.
        places: positions of the output.
        shortcut: add x' where channels do not change.
        groups: number of blocks of channels that do not mix.
        bias: add the learned b_2.
    """

    def __init__(
        self,
        make: ConvMaker,
        in_channels: int,
        out_channels: int,
        operator: nn.Module,
        *,
        places: Places,
        shortcut: bool = True,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.before = make.pointwise(in_channels, out_channels, groups=groups)
        self.operator = operator
        self.after = make.pointwise(out_channels, out_channels, groups=groups, bias=bias)
        self.places = places
        self.has_shortcut = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S')."""
        out = self.after(self.places.of(self.operator(F.gelu(self.before(x)))))
        return out + self.places.of(x) if self.has_shortcut else out


class SpatialSelection(nn.Module):
    r"""A weight in (0, 1) for every position and each of several maps.

    .. math:: (s_1, \dots, s_n) = \sigma(w * [\operatorname{mean}_c x ; \max_c x] + b)

    The weights of a position do not sum to one.

    Args:
        make: creates the convolution.
        number: n, the number of maps.
        kernel_size: side of the kernel w.
    """

    def __init__(self, make: ConvMaker, number: int, *, kernel_size: int = 7) -> None:
        super().__init__()
        self.squeeze = make.conv(2, number, kernel_size)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return n maps of weights (B, 1, *S) for x (B, C, *S)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], dim=1)
        return self.squeeze(pooled).sigmoid().split(1, dim=1)


def by_group(x: Tensor, groups: int) -> Tensor:
    """Turn groups of channels into images of their own, (B, C, *S) into (B * groups, C / groups, *S)."""
    return x.unflatten(1, (groups, -1)).flatten(0, 1)


def together(x: Tensor, groups: int) -> Tensor:
    """Undo `by_group`."""
    return x.unflatten(0, (-1, groups)).flatten(1, 2)
