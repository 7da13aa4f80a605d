"""MobileViG, MobileViGv2 and GreedyViG: positions of the own row and column, all of them or those that are close."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from convnn.nn._field import Field
from convnn.nn.vision_graphs._axial import Axial, down_and_right

AT_A_TIME = 16
"""Channels that are compared at once: the copies of all neighbours are large."""


class SVGA2d(Axial):
    r"""Sparse vision graph attention: every s-th position of the own row and column.

    .. math:: y_i = W_1 x'_i + W_2 \max \left( 0, \max_{j \in N(i)} (x'_i - x'_j) \right) + b

    with N(i) the positions s, 2 s, ... up the column and to the left in the row, around the border, as far as the map
    goes; mind the sign, which is that of the published code. Arguments, shapes and errors are those of `MGC2d`.

    Reference:
        Munir et al., "MobileViG: Graph-Based Sparse Attention for Mobile Vision Applications", arXiv 2307.00395.

    Example:
        >>> SVGA2d(8, 16, step=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """Down the map and to the right, in steps."""
        return down_and_right(size, self.step, device)

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """The most that each position has more than a neighbour, (B, N, C)."""
        return super().relative_max(Field(-field.features, field.axes), -own)


class MGC2d(Axial):
    r"""Mobile graph convolution: the four positions a step away in the own row and column.

    .. math:: y_i = W_1 x'_i + W_2 \max \left( 0, \max_{j \in N(i)} (x'_j - x'_i) \right) + b, \qquad x' = x + P * x

    with N(i) the positions s up, down, left and right, around the border, and P a depthwise convolution, the
    conditional positional encoding. Nothing is searched.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        step: s; along an axis of s positions or fewer there is nobody.
        positional_size: side of the window of P, an odd number; 0: no encoding.
        groups: blocks of channels that do not mix.
        stride, padding, window_size, dilation: those of the convolution whose place it takes; it computes the middle of
            each window, and looks at no padding.
        bias: add a learned constant to every output channel.
        backend: what computes it: "auto" takes the fastest that can; "cpu", "triton" or "reference" that one only.
        device: where the weights live.
        dtype: of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); weight (C_out, 2, C_in / groups).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Avery et al., "Scaling Graph Convolutions for Mobile Vision", arXiv 2406.05850.

    Example:
        >>> MGC2d(8, 16, step=2)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """One step either way along each axis that is longer."""
        height, width = size
        down = [(distance, 0) for distance in (self.step, -self.step) if self.step < height]
        right = [(0, distance) for distance in (self.step, -self.step) if self.step < width]
        return torch.tensor(down + right, dtype=torch.long, device=device).reshape(-1, 2)


class DAGC2d(Axial):
    r"""Dynamic axial graph convolution: of every s-th position of the own row and column those that are close.

    .. math:: N(i) = \{ j : \lVert x'_i - x'_j \rVert_1 < \mu - \sigma \}

    where :math:`\mu` and :math:`\sigma` are mean and unbiased standard deviation, for each image, of the L1 distances
    between the positions of the map and those half a map away, down and to the right: an estimate of all distances. A
    position with nobody close has 0 of its neighbours. The choice carries no gradient. Arguments, shapes and errors are
    those of `MGC2d`, and so is the rest of the formula.

    Reference:
        Munir et al., "GreedyViG: Dynamic Axial Graph Construction for Efficient Vision GNNs", arXiv 2405.06849; L1, as
        in the published code, where the paper says Euclidean.

    Example:
        >>> DAGC2d(8, 16, step=1)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """Down the map and to the right, in steps: those who may be close."""
        return down_and_right(size, self.step, device)

    def is_far(self, field: Field, fixed: Tensor) -> Tensor | None:
        """Which of them are no closer than the threshold, (B, N, K) bool; a position, the first, is close to itself."""
        rows = field.features.detach().to(torch.promote_types(field.features.dtype, torch.float32))
        threshold = distance_threshold(rows.unflatten(1, field.size))
        own = field.at_queries(rows).unsqueeze(2)
        blocks = zip(own.split(AT_A_TIME, dim=-1), rows.split(AT_A_TIME, dim=-1), strict=True)
        distances = reduce(torch.add, (_distance(here, there[:, fixed]) for here, there in blocks))
        return (distances >= threshold).index_fill(2, fixed.new_zeros(1), False)


def distance_threshold(maps: Tensor) -> Tensor:
    """Mean minus standard deviation of the distances between positions of (B, H, W, C) half a map apart, (B, 1, 1)."""
    height, width = maps.shape[1:3]
    sample = _distance(maps, maps.roll(((height + 1) // 2, (width + 1) // 2), (1, 2)))
    mean = sample.mean((1, 2), keepdim=True)
    return mean - ((sample - mean).square().sum((1, 2), keepdim=True) / (height * width - 1)).sqrt()


def _distance(maps: Tensor, others: Tensor) -> Tensor:
    """L1 distance of the features at each position, (B, H, W) of (B, H, W, C)."""
    return (maps - others).abs().sum(-1)
