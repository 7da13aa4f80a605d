"""Lists of any length: the neighbours of the nodes of a graph."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from convnn.bench.task import USUAL_VALUES, Function, Setting, Task
from convnn.bench.tasks._draws import indices, rows
from convnn.ops import edges, ragged
from convnn.ops.ragged import Lists

DTYPES = (torch.float32, torch.float64)


def _each(starts: Tensor, of_list: Callable[[slice], Tensor]) -> Tensor:
    """Return a row for each list."""
    bounds = starts.tolist()
    return torch.stack([of_list(slice(*pair)) for pair in pairwise(bounds)])


def total(values: Tensor, starts: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
    """Return the sum of the values of each list times their scores."""
    return _each(starts, lambda one: (values[chosen[one]] * scores[one][:, None]).sum(0))


def products(queries: Tensor, keys: Tensor, starts: Tensor, chosen: Tensor) -> Tensor:
    """Return the inner product of each query with the keys of its list."""
    own = torch.arange(len(queries)).repeat_interleave(starts.diff())
    return (queries[own] * keys[chosen]).sum(1, keepdim=True)


def maximum(values: Tensor, starts: Tensor, chosen: Tensor) -> Tensor:
    """Return the largest value of each list in each channel, 0 of none; the gradient goes to the first of them."""

    def of_list(one: slice) -> Tensor:
        found = values[chosen[one]]
        return found.gather(0, found.detach().argmax(0, keepdim=True))[0] if len(found) else 0 * values[0]

    return _each(starts, of_list)


def softmax_mean(values: Tensor, starts: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """Return the mean of each list weighted by a softmax in each channel; 0 of none."""

    def of_list(one: slice) -> Tensor:
        found = values[chosen[one]]
        return ((temperature * found).softmax(0) * found).sum(0)

    return _each(starts, of_list)


def propagate(x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """Return the sum over the incoming edges of each node."""
    messages = x[edge_index[0]] * edge_weight[:, None]
    return torch.zeros_like(x).index_add(0, edge_index[1], messages)


def _lists(generator: torch.Generator, setting: Setting) -> tuple[Tensor, Tensor]:
    """Draw lists; their lengths belong to the setting, an empty one among them."""
    lengths = torch.arange(setting["queries"]) * 7 % (setting["longest"] + 1)
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return starts, indices(generator, setting["positions"], int(starts[-1]))


def _of_total(generator: torch.Generator, setting: Setting) -> list[Any]:
    starts, chosen = _lists(generator, setting)
    return [*_of_values(generator, setting)[:1], starts, chosen, rows(generator, len(chosen))]


def _of_products(generator: torch.Generator, setting: Setting) -> list[Any]:
    queries = rows(generator, setting["queries"], setting["channels"])
    return [queries, *_of_values(generator, setting)]


def _of_values(generator: torch.Generator, setting: Setting) -> list[Any]:
    return [rows(generator, setting["positions"], setting["channels"]), *_lists(generator, setting)]


def _of_softmax(generator: torch.Generator, setting: Setting) -> list[Any]:
    return [*_of_values(generator, setting), setting["temperature"]]


def _of_edges(generator: torch.Generator, setting: Setting) -> list[Any]:
    nodes, number = setting["positions"], setting["queries"] * setting["longest"]
    x = rows(generator, nodes, setting["channels"])
    return [x, indices(generator, nodes, 2, number), rows(generator, number)]


def _total(backend: str) -> Function:
    def kernel(values: Tensor, starts: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
        return ragged.total(values, Lists(starts, chosen, len(values)), scores, backend=backend)

    return kernel


def _products(backend: str) -> Function:
    def kernel(queries: Tensor, keys: Tensor, starts: Tensor, chosen: Tensor) -> Tensor:
        return ragged.products(queries, keys, Lists(starts, chosen, len(keys)), backend=backend)

    return kernel


def _maximum(backend: str) -> Function:
    def kernel(values: Tensor, starts: Tensor, chosen: Tensor) -> Tensor:
        return ragged.maximum(values, Lists(starts, chosen, len(values)), backend=backend)

    return kernel


def _softmax_mean(backend: str) -> Function:
    def kernel(values: Tensor, starts: Tensor, chosen: Tensor, temperature: float) -> Tensor:
        return ragged.softmax_mean(values, Lists(starts, chosen, len(values)), temperature, backend=backend)

    return kernel


def _propagate(backend: str) -> Function:
    def kernel(x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        return edges.propagate(x, edge_index, edge_weight, backend=backend)

    return kernel


_SETTINGS = [
    {"positions": 7, "queries": 5, "longest": 4, "channels": 3},
    {"positions": 33, "queries": 16, "longest": 17, "channels": 16},
    {"positions": 64, "queries": 65, "longest": 9, "channels": 33},
]
_HOT = [{**one, "temperature": t} for one, t in zip(_SETTINGS, (1.0, 0.1, 3.0), strict=True)]

TASKS = [
    Task("ragged.total", total, _of_total, _SETTINGS, (*USUAL_VALUES, "zeros"), DTYPES, ours=_total),
    Task("ragged.products", products, _of_products, _SETTINGS, USUAL_VALUES, DTYPES, ours=_products),
    Task("ragged.maximum", maximum, _of_values, _SETTINGS, (*USUAL_VALUES, "zeros", "whole"), DTYPES, ours=_maximum),
    Task(
        "ragged.softmax_mean",
        softmax_mean,
        _of_softmax,
        _HOT,
        ("normal", "negative", "tiny"),
        DTYPES,
        ours=_softmax_mean,
    ),
    Task("edges.propagate", propagate, _of_edges, _SETTINGS, (*USUAL_VALUES, "zeros"), DTYPES, ours=_propagate),
]
