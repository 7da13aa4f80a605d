"""Losses of networks on skeletons."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convnn.errors import InputError


def virtual_divergence_loss(virtual: Sequence[Tensor] | Tensor) -> Tensor:
    r"""Return how alike the virtual joints of each layer are, the mean over the layers: 1 if equal, 0 if orthogonal.

    .. math:: \frac{1}{L} \sum_l \frac{\sum_{a, b} \operatorname{ReLU}(\cos(e_{la}, e_{lb})) - P}{P (P - 1)}

    Args:
        virtual: e, (P, C) for each of L layers, with P at least 2; see `convnn.nn.graphs.AdaptiveHyperGraphConv`.

    Raises:
        InputError: there is no layer, or one has another shape or fewer than two virtual joints.

    Reference:
        arXiv 2411.14796, in the form of its code, which adds it to the cross-entropy with labels smoothed by 0.1.

    Example:
        >>> virtual_divergence_loss([torch.eye(3), torch.ones(3, 4)])
        tensor(0.5000)
    """
    layers = list(virtual)
    if not layers:
        raise InputError("virtual must have the virtual joints of at least one layer")
    return torch.stack([_likeness(joints) for joints in layers]).mean()


def _likeness(joints: Tensor) -> Tensor:
    if joints.dim() != 2 or joints.shape[0] < 2:
        raise InputError(f"virtual has joints of shape {tuple(joints.shape)}; they must be (P, C), with P at least 2")
    count, lengths = joints.shape[0], joints.norm(dim=1)
    cosines = joints @ joints.T / (lengths * lengths.unsqueeze(1) + 1e-8)
    return (cosines.relu().sum() - count) / (count * (count - 1))
