"""Views with some features."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.views._probability import check_probability


def drop_features(x: Tensor, p: float | Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return the features with some set to 0, each in all nodes; what remains is not scaled.

    Args:
        x: (N, C) features of the nodes.
        p: probability of each feature to be dropped, 0 to 1, or (C,) those of all. One is dropped where its draw, which
            is uniform in [0, 1), is less.
        generator: source of the random numbers, on the device of x; None is that of torch.

    Raises:
        InputError: a shape or type is wrong, or p is out of range.

    Example:
        >>> drop_features(torch.ones(2, 3), torch.tensor([0.0, 1.0, 0.0]))
        tensor([[1., 0., 1.],
                [1., 0., 1.]])
    """
    if x.dim() != 2:
        raise InputError(f"x of shape {tuple(x.shape)} must be (N, C), a row for each node")
    check_probability(p, x.shape[1], "feature")
    draws = torch.rand(x.shape[1], generator=generator, device=x.device, dtype=torch.double)
    return x.masked_fill(draws < p, 0)
