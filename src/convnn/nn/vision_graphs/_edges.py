"""What is done to what an edge brings, ahead of the maximum."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from convnn.errors import check_choice

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "hardswish": nn.Hardswish,
    "none": nn.Identity,
}


class RowNorm(nn.Module):
    """Batch normalisation of rows (..., C): over all of them."""

    def __init__(self, channels: int, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.rows = nn.BatchNorm1d(channels, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.rows(x.flatten(0, -2)).view(x.shape)


def behind_linear(
    channels: int, norm: bool, activation: str, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Module:
    """What stands behind a linear map: normalisation, where asked for, and activation.

    Raises:
        InputError: the activation is unknown.
    """
    check_choice("edge_activation", activation, ACTIVATIONS)
    active = ACTIVATIONS[activation]()
    return nn.Sequential(RowNorm(channels, device, dtype), active) if norm else active
