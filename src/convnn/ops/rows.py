"""Rows by index, with a gradient that is the same in every run."""

from torch import Tensor


def take_rows(x: Tensor, indices: Tensor) -> Tensor:
    r"""Return rows of a tensor, as `x[indices]` does, whose gradient PyTorch adds up in parallel in any order.

    Args:
        x: (N, \*).
        indices: int64 from 0 to N - 1, of any shape.

    Returns:
        (\*indices.shape, \*), of which the gradient adds up in the order of the indices.
    """
    return x.index_select(0, indices.flatten()).unflatten(0, indices.shape)
