"""What layers with a linear map of edges have in common."""

import torch
from torch import Tensor, nn

from convnn.nn._field import Field
from convnn.nn._grid import Grid
from convnn.nn._grouped import grouped_linear
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._reset import reset_as_conv
from convnn.ops import Neighbors, select


class EdgeLinear(UnpaddedLayer):
    r"""A layer with a linear map of an edge: :math:`W_1 u + W_2 v + b`, u from the position and v from a neighbour.

    Attributes:
        weight: (C_out, 2, C_in / groups), :math:`W_1` and :math:`W_2`; (C_out, 1, C_in / groups) where both are one.
        bias: (C_out,) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        positional_size: int,
        groups: int,
        bias: bool,
        backend: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        ends: int = 2,
    ) -> None:
        super().__init__(in_channels, out_channels, grid, positional_size, groups, backend, device, dtype)
        shape = (out_channels, ends, in_channels // groups)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def combine(self, own: Tensor, other: Tensor) -> Tensor:
        """The linear map of both, (B, N, C_out)."""
        first, second = self.weight.unbind(1)
        return grouped_linear(own, first, self.bias) + grouped_linear(other, second)


class MaxRelative(EdgeLinear):
    r"""A 1x1 convolution of what a position has, and of the most that any neighbour has more.

    .. math:: y_i = W_1 x_i + W_2 m_i + b, \qquad m_{ic} = \max_{j \in N(i)} (x_{jc} - x_{ic})

    Who the neighbours :math:`N(i)` are is what its kinds differ in.
    """

    def _rows(self, field: Field) -> Tensor:
        own = field.at_queries(field.features)
        return self.combine(own, self.relative_max(field, own))

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """The most that a neighbour has more than each position that is computed, (B, N, C)."""
        raise NotImplementedError


def nearest_every(
    queries: Tensor, keys: Tensor, K: int, step: int, *, metric: str, positions: Tensor | None, backend: str
) -> Neighbors:
    """Every step-th of the K * step keys nearest to each query, or of all where there are fewer."""
    wanted = min(K * step, keys.shape[1])
    found = select.nearest(queries, keys, wanted, metric=metric, positions=positions, backend=backend)
    return found.every(step)
