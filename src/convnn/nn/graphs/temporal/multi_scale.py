"""Temporal convolution of every joint at several scales side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn.graphs.temporal.joints import check_skeletons


class TemporalConv(nn.Module):
    """A convolution over the frames of each joint, whose first and last frames are repeated, and normalisation.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: number of frames, odd.
        stride: every how many frames there is a result.
        dilation: frames from one tap to the next.

    Raises:
        InputError: a number is out of range, or the kernel is even.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        check_at_least("stride", stride, 1)
        check_at_least("dilation", dilation, 1)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            (kernel_size, 1),
            (stride, 1),
            (dilation * (kernel_size // 2), 0),
            (dilation, 1),
            padding_mode="replicate",
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, O, T', V), where T' is T / stride, rounded up."""
        out: Tensor = self.norm(self.conv(x))
        return out


class MultiScaleTemporalConv(nn.Module):
    """Dilated temporal convolutions, a maximum over three frames, and each frame by itself, side by side.

    Every branch has O / (number of dilations + 2) channels, and begins with a 1x1 convolution, normalised; all but the
    last go on with ReLU and what is named, normalised again.

    Args:
        in_channels: C.
        out_channels: O, a multiple of the number of branches.
        kernel_size: frames of the dilated convolutions, odd.
        stride: every how many frames there is a result.
        dilations: one for each convolution.
        residual: add x, or its 1x1 convolution and normalisation where channels or frames change.

    Raises:
        InputError: a number is out of range, or the channels do not divide.

    Reference:
        Chen et al., "Channel-wise Topology Refinement Graph Convolution", arXiv 2107.12213, in the form of the code of
        arXiv 2411.14796.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 5,
        stride: int = 1,
        dilations: Sequence[int] = (1, 2),
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        check_at_least("stride", stride, 1)
        count = len(dilations) + 2
        if out_channels % count:
            raise InputError(f"out_channels={out_channels} must be a multiple of {count}, the number of branches")
        width = out_channels // count

        def first(stride: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(in_channels, width, 1, (stride, 1)), nn.BatchNorm2d(width)]

        over_time = [TemporalConv(width, width, kernel_size, stride=stride, dilation=d) for d in dilations]
        largest = [nn.MaxPool2d((3, 1), (stride, 1), (1, 0)), nn.BatchNorm2d(width)]
        self.branches = nn.ModuleList(
            [
                *(nn.Sequential(*first(), nn.ReLU(), conv) for conv in over_time),
                nn.Sequential(*first(), nn.ReLU(), *largest),
                nn.Sequential(*first(stride)),
            ]
        )
        self.in_channels = in_channels
        self.shortcut = temporal_shortcut(in_channels, out_channels, stride) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, O, T', V), where T' is T / stride, rounded up.

        Raises:
            InputError: x has another shape, or is not floating.
        """
        check_skeletons(x, self.in_channels)
        y = torch.cat([branch(x) for branch in self.branches], 1)
        return y if self.shortcut is None else y + self.shortcut(x)


def temporal_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return the identity, or where channels or frames change, a 1x1 convolution and normalisation."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return TemporalConv(in_channels, out_channels, 1, stride=stride)
