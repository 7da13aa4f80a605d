"""Which offsets between two matches count alike: those with the same geometric relation."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.errors import check_at_least, check_choice, check_odd

Key = Callable[[Tensor, Tensor], Tensor]


def _relation(s: Tensor, t: Tensor) -> Tensor:
    lengths = torch.stack([s.square().sum(1), t.square().sum(1)], 1).sort(descending=True).values
    return torch.cat([lengths, (s - t).square().sum(1, keepdim=True)], 1)


SHARINGS: dict[str, Key] = {
    "psi": _relation,
    "iso": lambda s, t: (s - t).square().sum(1, keepdim=True),
    "full": lambda s, t: torch.cat([s, t], 1),
}
"""What offsets of source and target (N, A) that share a weight have in common, integers (N, k)."""


def pair_classes(kernel_size: int, axes: int, sharing: str = "psi") -> Tensor:
    r"""Return the class of every pair of offsets, of a source by s and of a target by t, from 0 in order of appearance.

    A match that supports another lies s away in the source and t away in the target. With "psi" the class is told by
    :math:`\{|s|^2, |t|^2\}` and :math:`|s - t|^2`, so that a swap of the images, or a flip or quarter turn of both,
    changes nothing; with "iso" by :math:`|s - t|^2` alone; with "full" every pair is a class.

    Args:
        kernel_size: K, odd; offsets go from -(K // 2) to K // 2 along each axis.
        axes: A, axes of a map, at least 1.
        sharing: "psi", "iso" or "full".

    Returns:
        (K, ..., K) int64 with 2 A axes, those of s first.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Min et al., "Convolutional Hough Matching Networks for Robust and Efficient Visual Correspondence", arXiv
        2109.05221.

    Example:
        >>> pair_classes(3, 1)  # of scales: both smaller, one of them, opposite, none
        tensor([[0, 1, 2],
                [1, 3, 1],
                [2, 1, 0]])
    """
    check_odd("kernel_size", kernel_size)
    check_at_least("axes", axes, 1)
    check_choice("sharing", sharing, SHARINGS)
    side = torch.arange(kernel_size) - kernel_size // 2
    offsets = torch.cartesian_prod(*[side] * (2 * axes))
    keys = SHARINGS[sharing](offsets[:, :axes], offsets[:, axes:])
    _, sorted_class = keys.unique(dim=0, return_inverse=True)
    first = torch.full((int(sorted_class.max()) + 1,), len(keys))
    first.scatter_reduce_(0, sorted_class, torch.arange(len(keys)), "amin")
    return first.argsort().argsort()[sorted_class].reshape([kernel_size] * (2 * axes))
