"""Aggregations of PyTorch Geometric, computed by our operators on lists; each has the arguments of its namesake there.

They stand wherever `torch_geometric.nn.aggr` does, as `aggr=` of any `MessagePassing` too. Results are the same, and on
the CPU the same bits on any number of threads. Only the gradient of a maximum or minimum differs: the first of equal
values has all of it.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.nn import aggr

from convnn.errors import InputError
from convnn.ops import ragged
from convnn.ops.ragged import Lists

Reduction = Callable[[Tensor, Lists], Tensor]

REDUCTIONS: dict[str, Reduction] = {
    "sum": ragged.total,
    "mean": ragged.mean,
    "max": ragged.maximum,
    "min": ragged.minimum,
}


class _OnLists(aggr.Aggregation):
    """An aggregation whose sums, means and extremes are those of `convnn.ops.ragged`."""

    def reduce(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        reduce: str = "sum",
    ) -> Tensor:
        """Reduce the elements of each set, as `torch_geometric.utils.scatter` and `segment` do."""
        if not x.is_floating_point():
            return super().reduce(x, index, ptr, dim_size, dim, reduce)
        return _reduced(x, index, ptr, dim_size, dim, REDUCTIONS[reduce])


class SumAggregation(_OnLists, aggr.SumAggregation):
    """`torch_geometric.nn.aggr.SumAggregation`, see `convnn.ops.ragged.total`."""


class MeanAggregation(_OnLists, aggr.MeanAggregation):
    """`torch_geometric.nn.aggr.MeanAggregation`, see `convnn.ops.ragged.mean`."""


class MaxAggregation(_OnLists, aggr.MaxAggregation):
    """`torch_geometric.nn.aggr.MaxAggregation`, see `convnn.ops.ragged.maximum`."""


class MinAggregation(_OnLists, aggr.MinAggregation):
    """`torch_geometric.nn.aggr.MinAggregation`, see `convnn.ops.ragged.minimum`."""


class VarAggregation(_OnLists, aggr.VarAggregation):
    """`torch_geometric.nn.aggr.VarAggregation`, see `convnn.ops.ragged.variance`."""

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Return the variance of each set."""
        if self.semi_grad:
            return super().forward(x, index, ptr, dim_size, dim)
        return _reduced(x, index, ptr, dim_size, dim, ragged.variance)


class StdAggregation(aggr.StdAggregation):
    """`torch_geometric.nn.aggr.StdAggregation`: the root of `VarAggregation`, and 0 below the root of 1e-5."""

    def __init__(self, semi_grad: bool = False) -> None:
        super().__init__(semi_grad)
        self.var_aggr = VarAggregation(semi_grad)


class SoftmaxAggregation(_OnLists, aggr.SoftmaxAggregation):
    """`torch_geometric.nn.aggr.SoftmaxAggregation`, see `convnn.ops.ragged.softmax_mean`."""

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Return the mean of each set, weighted by the softmax in each channel."""
        if self.semi_grad:
            return super().forward(x, index, ptr, dim_size, dim)
        if self.channels != 1:
            self.assert_two_dimensional_input(x, dim)
        t = self.t if isinstance(self.t, float | int) or self.channels != 1 else self.t.squeeze(0)
        return _reduced(x, index, ptr, dim_size, dim, lambda rows, lists: ragged.softmax_mean(rows, lists, t))


class PowerMeanAggregation(_OnLists, aggr.PowerMeanAggregation):
    """`torch_geometric.nn.aggr.PowerMeanAggregation`, whose powers are clamped and whose means are ours."""


def _reduced(
    x: Tensor, index: Tensor | None, ptr: Tensor | None, dim_size: int | None, dim: int, reduction: Reduction
) -> Tensor:
    """Reduce along one axis; see `lists_of_sets`."""
    rows = x.movedim(dim, 0)
    lists = lists_of_sets(rows, index, ptr, dim_size)
    out = reduction(rows.flatten(1) if rows.dim() > 1 else rows.unsqueeze(1), lists)
    return out.view(lists.queries, *rows.shape[1:]).movedim(0, dim)


def lists_of_sets(rows: Tensor, index: Tensor | None, ptr: Tensor | None, dim_size: int | None) -> Lists:
    """Return the lists of rows in each set: the set of a row is in `index`, or its rows lie between entries of `ptr`.

    Raises:
        InputError: neither index nor ptr is given, or an index lies outside the sets.
    """
    if ptr is not None:
        return Lists(ptr, torch.arange(rows.shape[0], device=rows.device), rows.shape[0])
    if index is None:
        raise InputError("index=None must be the set of each element where ptr is not given either")
    return Lists.of_targets(index.contiguous(), _size(index) if dim_size is None else dim_size)


def _size(index: Tensor) -> int:
    return int(index.max()) + 1 if index.numel() else 0
