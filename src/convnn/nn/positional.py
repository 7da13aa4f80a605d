"""Conditional positional encoding."""

import torch
from torch import Tensor

from convnn.errors import check_odd
from convnn.nn._depthwise import DepthwiseConv2d


class PositionalEncoding2d(DepthwiseConv2d):
    r"""Conditional positional encoding: a map plus a depthwise convolution of it.

    .. math:: y = x + P * x

    Args:
        channels: number of channels of input and output.
        kernel_size: side of the window of P, an odd number.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Chu et al., "Conditional Positional Encodings for Vision Transformers", arXiv 2102.10882; as in MobileViGv2,
        arXiv 2406.05850.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_odd("positional_size", kernel_size)
        super().__init__(channels, channels, kernel_size, padding="same", groups=channels, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x + super().forward(x)
