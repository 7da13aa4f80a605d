"""Weights: how similar a query and its neighbours are."""

from typing import Any

import torch
from torch import Tensor

from convnn.bench.task import Function, Setting, Task
from convnn.bench.tasks._draws import gathered, indices, rows
from convnn.ops import Neighbors, weigh


def similarity(queries: Tensor, keys: Tensor, chosen: Tensor, metric: str) -> Tensor:
    """Return the cosine, minus the squared distance, or the inner product of each chosen pair; zero rows have 0."""
    dtype = torch.promote_types(queries.dtype, torch.float32)
    one, other = queries.to(dtype)[:, :, None], gathered(keys, chosen).to(dtype)
    if metric == "euclidean":
        return -(one - other).square().sum(-1)
    if metric == "cosine":
        one, other = _unit(one), _unit(other)
    return (one * other).sum(-1)


def _unit(x: Tensor) -> Tensor:
    squares = x.square().sum(-1, keepdim=True)
    return torch.where(squares == 0, 0, x / torch.where(squares == 0, 1, squares).sqrt())


def _inputs(generator: torch.Generator, setting: Setting) -> list[Any]:
    batch, count, length, channels, K = (setting[name] for name in ("batch", "queries", "keys", "channels", "K"))
    queries, keys = rows(generator, batch, count, channels), rows(generator, batch, length, channels)
    return [queries, keys, indices(generator, length, batch, count, K), setting["metric"]]


def _similarity(backend: str) -> Function:
    def kernel(queries: Tensor, keys: Tensor, chosen: Tensor, metric: str) -> Tensor | None:
        return weigh.similarity(Neighbors(chosen), queries, keys, metric=metric, backend=backend).scores

    return kernel


_SHAPES = [
    {"batch": 2, "queries": 3, "keys": 17, "channels": 3, "K": 5},
    {"batch": 3, "queries": 33, "keys": 16, "channels": 17, "K": 1},
    {"batch": 1, "queries": 64, "keys": 65, "channels": 32, "K": 9},
]

TASKS = [
    Task(
        f"weigh.similarity.{metric}",
        similarity,
        _inputs,
        [{**shape, "metric": metric} for shape in _SHAPES],
        ("normal", "negative", "large", "tiny", "zeros", "whole"),
        (torch.float32, torch.float64, torch.float16, torch.bfloat16),
        ours=_similarity,
    )
    for metric in ("cosine", "euclidean", "matmul")
]
