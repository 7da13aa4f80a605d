"""Several motions for every position: groups of channels are fetched from offsets around a flow."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.ops.warping import flow_warp

REACH = 40.0
"""How far, in positions, an offset leads from the flow at most."""


class OffsetDiversity(nn.Module):
    r"""Warp groups of channels by several offsets around a flow, weigh them, and mix them by a grouped convolution.

    .. math:: y = W \big[\sigma(m_k) \operatorname{warp}(x_{k \bmod G}, f + 40 \tanh o_k)\big]_{k = 1}^{G n}

    The offsets o and masks m come from a network at half of the resolution, enlarged bilinearly.

    Args:
        channels: C, a multiple of the groups.
        aux_channels: channels of what the network sees.
        groups: G.
        offsets: n, offsets of each group.
        width: channels inside the network.
        network: from aux (B, A, H, W) to (B, 3 G n, H / 2, W / 2); None makes three convolutions.

    Raises:
        InputError: the groups do not divide the channels; in forward: shapes do not agree, or a side is odd.

    Reference:
        Li, Li and Lu, DCVC-DC, arXiv 2302.14402, section 3.3.

    Example:
        >>> import torch
        >>> x, aux, flow = (torch.rand(1, channels, 8, 6) for channels in (4, 6, 2))
        >>> OffsetDiversity(4, 6, groups=2)(x, aux, flow).shape
        torch.Size([1, 4, 8, 6])
    """

    def __init__(
        self,
        channels: int,
        aux_channels: int,
        *,
        groups: int = 16,
        offsets: int = 2,
        width: int = 64,
        network: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"channels": channels, "groups": groups, "offsets": offsets, "width": width}.items():
            check_at_least(name, value, 1)
        if channels % groups:
            raise InputError(f"channels={channels} must be a multiple of groups={groups}")
        self.groups, self.count = groups, groups * offsets
        self.network = _offset_network(aux_channels, width, 3 * self.count) if network is None else network
        self.fusion = nn.Conv2d(channels * offsets, channels, 1, groups=groups)

    def forward(self, x: Tensor, aux: Tensor, flow: Tensor) -> Tensor:
        """Map x (B, C, H, W), aux (B, A, H, W) and flow (B, 2, H, W) to (B, C, H, W)."""
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise InputError(f"x of {x.shape[2]}x{x.shape[3]} positions must have even sides")
        found = F.interpolate(self.network(aux), scale_factor=2, mode="bilinear", align_corners=False)
        offsets = REACH * found[:, : 2 * self.count].tanh().unflatten(1, (self.count, 2)) + flow.unsqueeze(1)
        masks = found[:, 2 * self.count :].sigmoid().unsqueeze(2)
        parts = x.unflatten(1, (self.groups, -1)).repeat(1, self.count // self.groups, 1, 1, 1)
        warped = flow_warp(parts.flatten(0, 1), offsets.flatten(0, 1)).unflatten(0, parts.shape[:2])
        return self.fusion((warped * masks).flatten(1, 2))


def _offset_network(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Create the network from what is seen to offsets and masks at half of the resolution."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, out_channels, 3, padding=1),
    )
