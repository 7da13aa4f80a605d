"""Searches: which keys are most similar to a query."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from convnn.bench.task import Function, Setting, Task
from convnn.bench.tasks._draws import indices, rows
from convnn.ops import select
from convnn.ops.neighbors import METRICS

DTYPES = (torch.float32, torch.float64, torch.float16)
VALUES = ("normal", "negative", "large", "tiny", "zeros", "whole", "special")


def scores_of(queries: Tensor, keys: Tensor, metric: str) -> Tensor:
    """Return the scores of pairs of vectors, in float64."""
    queries, keys = queries.double(), keys.double()
    if metric == "euclidean":
        scores = -(queries - keys).square().sum(-1)
    else:
        products, lengths = (queries * keys).sum(-1), queries.norm(dim=-1) * keys.norm(dim=-1)
        cosines = torch.where(lengths == 0, 0, products / lengths)
        cosines = torch.where(lengths == torch.inf, torch.nan, cosines)
        scores = cosines.clamp(-1, 1) if metric == "cosine" else products
        scores = torch.where(cosines.abs() < 1e-12, 0, scores)
    return scores


def ranked(scores: Tensor) -> Tensor:
    """Return scores as they rank, rounded to float32: what is NaN or too large last, then what is too small."""
    return scores.float().nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=torch.finfo(torch.float32).min)


def nearest(queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None) -> Tensor:
    """Return the K keys with the highest scores, of equal ones the first; the query itself before all."""
    scores = ranked(scores_of(queries[:, :, None], keys[:, None], metric))
    if positions is not None:
        scores[:, torch.arange(len(positions)), positions] = torch.inf
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :K]


def one_of_each(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
    """Return the most or least similar key of each short list, of equal ones the first."""
    found = scores_of(queries[:, :, None, None], keys[:, choices], metric)
    best = ranked(-found if unlike else found).argmax(-1, keepdim=True)
    return choices.expand(queries.shape[0], -1, -1, -1).gather(-1, best).squeeze(-1)


def _inputs(generator: torch.Generator, setting: Setting) -> list[Any]:
    batch, count, length, channels = (setting[name] for name in ("batch", "queries", "keys", "channels"))
    keys = rows(generator, batch, length, channels)
    positions = None
    queries = rows(generator, batch, count, channels)
    if setting.get("own"):
        positions = torch.randperm(length, generator=generator)[:count].sort().values
        queries = keys[:, positions]
    return [queries, keys, setting["K"], setting["metric"], positions]


def _choices(generator: torch.Generator, setting: Setting) -> list[Any]:
    queries, keys, K, metric, _ = _inputs(generator, setting)
    choices = indices(generator, keys.shape[1], queries.shape[1], K, 4)
    return [queries, keys, choices, metric, setting["unlike"]]


def _nearest(backend: str) -> Function:
    def kernel(queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None) -> Tensor:
        return select.nearest(queries, keys, K, metric=metric, positions=positions, backend=backend).indices

    return kernel


def _in_all_lists(backend: str) -> Function:
    def kernel(queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None) -> Tensor:
        every = partial(select.nearest, queries, keys, K, metric=metric, positions=positions, backend=backend)
        return every(method="clustered", lists=3, probes=3).indices

    return kernel


def _one_of_each(backend: str) -> Function:
    def kernel(queries: Tensor, keys: Tensor, choices: Tensor, metric: str, unlike: bool) -> Tensor:
        return select.one_of_each(queries, keys, choices, metric=metric, unlike=unlike, backend=backend).indices

    return kernel


_SHAPES = [
    {"batch": 2, "queries": 3, "keys": 17, "channels": 3, "K": 5, "own": True},
    {"batch": 1, "queries": 31, "keys": 33, "channels": 8, "K": 9, "own": False},
    {"batch": 3, "queries": 16, "keys": 65, "channels": 16, "K": 1, "own": True},
]
_SETTINGS = [{**shape, "metric": metric} for shape, metric in zip(_SHAPES, METRICS, strict=True)]
_LAST = {"batch": 2, "queries": 64, "keys": 64, "channels": 32, "K": 9, "own": True, "metric": "cosine"}

TASKS = [
    Task(
        "select.nearest",
        nearest,
        _inputs,
        [*_SETTINGS, _LAST],
        VALUES,
        DTYPES,
        has_gradients=False,
        ours=_nearest,
    ),
    Task(
        "select.nearest.clustered",
        nearest,
        _inputs,
        [*_SETTINGS, _LAST],
        ("normal", "negative", "large", "tiny"),
        DTYPES,
        has_gradients=False,
        ours=_in_all_lists,
    ),
    Task(
        "select.one_of_each",
        one_of_each,
        _choices,
        [{**one, "unlike": i % 2 == 1} for i, one in enumerate(_SETTINGS)],
        VALUES,
        DTYPES,
        has_gradients=False,
        ours=_one_of_each,
    ),
]
