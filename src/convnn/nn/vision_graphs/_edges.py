"""The linear map of an edge, and its normalisation and activation before the maximum."""

import torch
from torch import Tensor, nn

from convnn.errors import check_choice
from convnn.nn._activations import ACTIVATIONS
from convnn.nn._grouped import grouped_linear


class RowNorm(nn.Module):
    """Batch normalisation over all rows (..., C)."""

    def __init__(self, channels: int, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.rows = nn.BatchNorm1d(channels, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.rows(x.flatten(0, -2)).view(x.shape)


def norm_and_activation(
    channels: int, norm: bool, activation: str, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Module:
    """Create what follows a linear map: optional normalisation, and activation.

    Raises:
        InputError: the activation is unknown.
    """
    check_choice("edge_activation", activation, ACTIVATIONS)
    active = ACTIVATIONS[activation]()
    return nn.Sequential(RowNorm(channels, device, dtype), active) if norm else active


def edge_parameters(
    in_channels: int,
    out_channels: int,
    *,
    ends: int = 2,
    groups: int,
    bias: bool,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Create weight (C_out, ends, C_in / groups) and bias (C_out,), or None, of an edge's linear map, uninitialised."""
    weight = nn.Parameter(torch.empty(out_channels, ends, in_channels // groups, device=device, dtype=dtype))
    return weight, nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None


def edge_linear(own: Tensor, other: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    r"""Apply the linear map of both ends, :math:`W_1 u + W_2 v + b`, (B, N, C_out); W_1 and W_2 are in the weight."""
    first, second = weight.unbind(1)
    return grouped_linear(own, first, bias) + grouped_linear(other, second)
