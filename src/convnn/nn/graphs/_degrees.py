"""Degrees of nodes, and their powers."""

from torch import Tensor

from convnn.ops.edges import propagate


def degrees(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
    """Return the sum of the weights of the incoming edges of each node, (N, 1), in the type of x, (N, C)."""
    return propagate(x.new_ones(x.shape[0], 1), edge_index, edge_weight)


def degree_powers(degrees: Tensor, exponent: float) -> Tensor:
    """Return the degrees to a power, and 0 for the degree 0, where the gradient is 0 too."""
    is_nothing = degrees == 0
    return degrees.masked_fill(is_nothing, 1).pow(exponent).masked_fill(is_nothing, 0)
