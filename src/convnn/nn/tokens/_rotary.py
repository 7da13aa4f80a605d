"""Rotary positions."""

import torch
from torch import Tensor


def rotated(heads: Tensor, positions: Tensor, speeds: Tensor) -> Tensor:
    """Rotate each pair of channels (c, c + d / 2) of heads (..., T, d) by its position (T,) times its speed (d / 2,).

    Reference:
        Su et al., "RoFormer", arXiv 2104.09864, equation 34.
    """
    dtype = torch.promote_types(heads.dtype, torch.float32)  # half precision cannot distinguish late positions
    angles = positions.to(dtype)[:, None] * speeds
    left, right = heads.to(dtype).chunk(2, dim=-1)
    turned = left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()
    return torch.cat(turned, dim=-1).to(heads.dtype)


def speeds_of(width: int, base: float, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Return the speeds :math:`\text{base}^{-2c / d}` of the pairs of d channels."""
    return 1 / base ** (torch.arange(0, width, 2, device=device, dtype=dtype) / width)
