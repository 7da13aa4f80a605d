"""GreedyViG: positions in the row and column of each position that are close by feature."""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._layer import UnpaddedLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import written
from convnn.nn.vision_graphs._axial import down_and_right, itself_and_shifted
from convnn.nn.vision_graphs._edges import edge_linear, edge_parameters
from convnn.ops import Neighbors, aggregate

AT_A_TIME = 16
"""Number of channels compared at once, because the copies of all neighbours are large."""


class DAGC2d(UnpaddedLayer):
    r"""Dynamic axial graph convolution: every s-th position of its row and column that is close by feature.

    .. math:: N(i) = \{ j : \lVert x'_i - x'_j \rVert_1 < \mu - \sigma \}

    where :math:`\mu` and :math:`\sigma` are mean and unbiased standard deviation, for each image, of the L1 distances
    between the positions of the map and those half a map away, down and to the right: an estimate of all distances. A
    position without close candidates has 0 instead of the maximum. The choice carries no gradient. Arguments,
    shapes, errors and the rest of the formula are those of `MGC2d`.

    Reference:
        Munir et al., "GreedyViG: Dynamic Axial Graph Construction for Efficient Vision GNNs", arXiv 2405.06849; the
        distance is L1, as in the published code; the paper has the Euclidean one.

    Example:
        >>> DAGC2d(8, 16, step=1)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        step: int = 2,
        positional_size: int = 7,
        groups: int = 1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_at_least("step", step, 1)
        super().__init__(
            in_channels,
            out_channels,
            grid=Grid(window_size, stride, padding, dilation),
            positional_size=positional_size,
            groups=groups,
            backend=backend,
            device=device,
            dtype=dtype,
        )
        self.step = step
        self.weight, self.bias = edge_parameters(
            in_channels, out_channels, groups=groups, bias=bias, device=device, dtype=dtype
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as a 1x1 `torch.nn.Conv2d` of 2 * C_in channels does."""
        reset_as_conv(self.weight, self.bias)

    def _rows(self, field: Field) -> Tensor:
        own = field.at_queries(field.features)
        return edge_linear(own, self.relative_max(field, own), self.weight, self.bias)

    def shifts(self, size: Sequence[int], device: torch.device | None = None) -> Tensor:
        """Return the distances (K, 2) of candidates: down the map and to the right, in steps."""
        return down_and_right(size, self.step, device)

    def relative_max(self, field: Field, own: Tensor) -> Tensor:
        """Return the maximum of x_j - x_i over the neighbours j of each computed position i, (B, N, C)."""
        return aggregate.maximum(field.features, self._neighbors(field), own, backend=self.backend)

    def _neighbors(self, field: Field) -> Neighbors:
        """Return the neighbours of the positions of the grid: themselves, and the candidates that are close."""
        fixed = itself_and_shifted(field, self.shifts(field.size, field.features.device))
        return Neighbors(fixed.expand(field.features.shape[0], -1, -1), absent=self._is_far(field, fixed[0]))

    def _is_far(self, field: Field, fixed: Tensor) -> Tensor:
        """Mark candidates (N, K) that are too far away, (B, N, K) bool; the first, the position itself, is close."""
        rows = field.features.detach().to(torch.promote_types(field.features.dtype, torch.float32))
        threshold = distance_threshold(rows.unflatten(1, field.size))
        own = field.at_queries(rows).unsqueeze(2)
        blocks = zip(own.split(AT_A_TIME, dim=-1), rows.split(AT_A_TIME, dim=-1), strict=True)
        distances = reduce(torch.add, (_distance(here, there[:, fixed]) for here, there in blocks))
        return (distances >= threshold).index_fill(2, fixed.new_zeros(1), False)

    def settings(self) -> Iterable[object]:
        """Return the step, and what all layers without padding show."""
        return written(step=self.step), *super().settings()


def distance_threshold(maps: Tensor) -> Tensor:
    """Return mean minus standard deviation of the distances of positions (B, H, W, C) half a map apart, (B, 1, 1)."""
    height, width = maps.shape[1:3]
    sample = _distance(maps, maps.roll(((height + 1) // 2, (width + 1) // 2), (1, 2)))
    mean = sample.mean((1, 2), keepdim=True)
    return mean - ((sample - mean).square().sum((1, 2), keepdim=True) / (height * width - 1)).sqrt()


def _distance(maps: Tensor, others: Tensor) -> Tensor:
    """Return the L1 distance of the features at each position, (B, H, W) of (B, H, W, C)."""
    return (maps - others).abs().sum(-1)
