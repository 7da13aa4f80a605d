"""A small pyramid network for the motion between two frames."""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.models.coding._parts import conv
from convnn.ops.warping import flow_warp

KERNEL = 7


class SpyNet(nn.Module):
    r"""The flow from one frame to another, corrected level by level from a coarse pyramid to the frames themselves.

    .. math:: f_l = u + g_l\big([x_l, \operatorname{warp}(r_l, u), u]\big), \qquad u = 2 \operatorname{up}(f_{l + 1})

    where each :math:`g_l` has five 7x7 convolutions, and the coarsest level begins with 0.

    Args:
        width: channels of the widest layer, a multiple of 4.
        levels: number of resolutions; the sides of the frames are multiples of 2 to this power less one.

    Raises:
        InputError: there is no level, or the width is no multiple of 4; in forward: frames differ in shape
            or have other sides.

    Reference:
        Ranjan and Black, arXiv 1611.00850, as used by DCVC, arXiv 2109.15047.

    Example:
        >>> SpyNet(8, 2)(torch.rand(1, 3, 8, 10), torch.rand(1, 3, 8, 10)).shape
        torch.Size([1, 2, 8, 10])
    """

    def __init__(self, width: int = 64, levels: int = 4) -> None:
        super().__init__()
        check_at_least("levels", levels, 1)
        check_at_least("width", width, 4)
        if width % 4:
            raise InputError(f"width={width} must be a multiple of 4")
        self.networks = nn.ModuleList(_corrector(width) for _ in range(levels))

    def forward(self, frame: Tensor, reference: Tensor) -> Tensor:
        """Return where each position of a frame (B, 3, H, W) lies in the reference, (B, 2, H, W) in pixels."""
        factor = 2 ** (len(self.networks) - 1)
        if frame.shape != reference.shape or frame.dim() != 4 or frame.shape[2] % factor or frame.shape[3] % factor:
            raise InputError(
                f"frame of shape {tuple(frame.shape)} and reference of shape {tuple(reference.shape)} must both be"
                f" (B, 3, H, W), with sides that are multiples of {factor}"
            )
        pyramid = [(frame, reference)]
        for _ in range(len(self.networks) - 1):
            pyramid.append(cast(tuple[Tensor, Tensor], tuple(F.avg_pool2d(one, 2) for one in pyramid[-1])))
        flow = frame.new_zeros(frame.shape[0], 2, *pyramid[-1][0].shape[2:])
        for (x, before), network in zip(reversed(pyramid), self.networks, strict=True):
            flow = 2 * F.interpolate(flow, x.shape[2:], mode="bilinear", align_corners=False)
            flow = flow + network(torch.cat([x, flow_warp(before, flow), flow], 1))
        return flow


def _corrector(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise((8, width // 2, width, width // 2, width // 4, 2)):
        layers += [conv(before, after, KERNEL), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
