"""Aggregation: what is made of the values of the neighbours."""

from typing import Any

import torch
from torch import Tensor

from convnn.bench.task import USUAL_VALUES, Function, Setting, Task
from convnn.bench.tasks._draws import gathered, indices, rows
from convnn.ops import Neighbors, aggregate

DTYPES = (torch.float32, torch.float64, torch.float16)


def convolve(
    values: Tensor, chosen: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    """Return the sum over the neighbours of the kernel's slot times the value, channel block by channel block."""
    neighbours = gathered(values, chosen)
    if scores is not None:
        neighbours = neighbours * scores[..., None]
    out = [
        torch.einsum("bnkc,ock->bno", some, kernel)
        for some, kernel in zip(neighbours.chunk(groups, -1), weight.chunk(groups, 0), strict=True)
    ]
    together = torch.cat(out, -1)
    return together if bias is None else together + bias


def weighted_sum(values: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
    """Return the sum of the values times their scores."""
    return (gathered(values, chosen) * scores[..., None]).sum(2)


def maximum(values: Tensor, chosen: Tensor, scores: Tensor | None, centers: Tensor | None) -> Tensor:
    """Return the largest value in each channel, of equal ones that of the first slot, to which the gradient goes."""
    neighbours = gathered(values, chosen)
    neighbours = neighbours if centers is None else neighbours - centers[:, :, None]
    neighbours = neighbours if scores is None else neighbours * scores[..., None]
    return neighbours.gather(2, neighbours.detach().argmax(2, keepdim=True)).squeeze(2)


def _inputs(generator: torch.Generator, setting: Setting) -> list[Any]:
    batch, count, length, channels, K = (setting[name] for name in ("batch", "queries", "keys", "channels", "K"))
    values, chosen = rows(generator, batch, length, channels), indices(generator, length, batch, count, K)
    scores = torch.rand(batch, count, K, generator=generator, dtype=torch.float64) if setting["scored"] else None
    return [values, chosen, scores]


def _of_convolve(generator: torch.Generator, setting: Setting) -> list[Any]:
    groups, outputs = setting["groups"], setting["outputs"]
    weight = rows(generator, outputs, setting["channels"] // groups, setting["K"])
    bias = rows(generator, outputs) if setting["scored"] else None
    return [*_inputs(generator, setting), weight, bias, groups]


def _of_maximum(generator: torch.Generator, setting: Setting) -> list[Any]:
    centers = rows(generator, setting["batch"], setting["queries"], setting["channels"])
    return [*_inputs(generator, setting), centers if setting["centered"] else None]


def _convolve(backend: str) -> Function:
    def kernel(
        values: Tensor, chosen: Tensor, scores: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int
    ) -> Tensor:
        return aggregate.convolve(values, Neighbors(chosen, scores), weight, bias, groups=groups, backend=backend)

    return kernel


def _weighted_sum(backend: str) -> Function:
    def kernel(values: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
        return aggregate.weighted_sum(values, Neighbors(chosen, scores), backend=backend)

    return kernel


def _maximum(backend: str) -> Function:
    def kernel(values: Tensor, chosen: Tensor, scores: Tensor | None, centers: Tensor | None) -> Tensor:
        return aggregate.maximum(values, Neighbors(chosen, scores), centers, backend=backend)

    return kernel


_SHAPES = [
    {"batch": 2, "queries": 3, "keys": 17, "channels": 6, "K": 5, "scored": True},
    {"batch": 3, "queries": 33, "keys": 16, "channels": 16, "K": 1, "scored": False},
    {"batch": 1, "queries": 64, "keys": 65, "channels": 32, "K": 9, "scored": True},
]

TASKS = [
    Task(
        "aggregate.convolve",
        convolve,
        _of_convolve,
        [{**shape, "groups": 1, "outputs": outputs} for shape, outputs in zip(_SHAPES, (4, 17, 32), strict=True)],
        USUAL_VALUES,
        DTYPES,
        parameters=(3, 4),
        ours=_convolve,
    ),
    Task(
        "aggregate.convolve.depthwise",
        convolve,
        _of_convolve,
        [{**shape, "groups": shape["channels"], "outputs": shape["channels"]} for shape in _SHAPES],
        USUAL_VALUES,
        DTYPES,
        parameters=(3, 4),
        ours=_convolve,
    ),
    Task(
        "aggregate.weighted_sum",
        weighted_sum,
        _inputs,
        [{**shape, "scored": True} for shape in _SHAPES],
        (*USUAL_VALUES, "zeros", "whole"),
        DTYPES,
        ours=_weighted_sum,
    ),
    Task(
        "aggregate.maximum",
        maximum,
        _of_maximum,
        [{**shape, "centered": centered} for shape, centered in zip(_SHAPES, (True, False, False), strict=True)],
        (*USUAL_VALUES, "zeros", "whole"),
        DTYPES,
        ours=_maximum,
    ),
]
