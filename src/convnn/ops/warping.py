"""A map moved by a flow: each position takes what it finds where its motion leads."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError


def flow_warp(x: Tensor, flow: Tensor) -> Tensor:
    r"""Return at every position what a map holds where its flow leads, interpolated bilinearly.

    .. math:: y_{c, v, u} = x_c(v + f_y, u + f_x)

    Places beyond the frame take what is on its border. A flow of zeros returns the map.

    Args:
        x: (B, C, H, W).
        flow: (B, 2, H, W), :math:`f_x` and :math:`f_y` in positions, to the right and down.

    Returns:
        (B, C, H, W).

    Raises:
        InputError: the flow has not two channels, or not the batch and size of the map.

    Reference:
        Spatial transformers, arXiv 1506.02025, as used by DCVC, arXiv 2109.15047.

    Example:
        >>> flow_warp(torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4))
        tensor([[[[0.5000, 1.5000, 2.5000, 3.0000]]]])
    """
    if x.dim() != 4 or flow.shape != (x.shape[0], 2, *x.shape[2:]):
        raise InputError(
            f"flow of shape {tuple(flow.shape)} must be (B, 2, H, W) for x (B, C, H, W), which has shape"
            f" {tuple(x.shape)}"
        )
    height, width = x.shape[2:]
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (height, width))
    places = torch.stack([columns + flow[:, 0], rows.unsqueeze(1) + flow[:, 1]], 3)
    # A pixel's middle is at +1/2 here, so that maps of a single row have no division by zero.
    grid = (2 * places + 1) / x.new_tensor([width, height]) - 1
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
