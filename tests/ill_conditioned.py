"""Rows that are hard to distinguish: their differences are small compared with their values, or zero."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.ops import METRICS


class Case(NamedTuple):
    """The arguments of a search."""

    name: str
    queries: Tensor
    keys: Tensor
    K: int
    metric: str
    positions: Tensor | None
    candidates: Tensor | None


KINDS = (
    "large mean",
    "far clusters",
    "signs",
    "whole numbers",
    "zeros",
    "duplicates",
    "not numbers",
    "units",
    "places",
    "walks",
)


def cases(count: int, seed: int = 0, shortest: int = 1, longest: int = 120, widest: int = 70) -> Iterator[Case]:
    """Yield random float32 cases, deterministic for a seed, with every kind and metric in turn."""
    for i in range(count):
        random = torch.Generator().manual_seed(1000 * seed + i)
        kind, metric = KINDS[i % len(KINDS)], METRICS[i // len(KINDS) % len(METRICS)]
        length, channels = _whole(shortest, longest, random), _whole(1, widest, random)
        batch, K = _whole(1, 2, random), _whole(1, min(33, length), random)
        keys = _rows(kind, batch, length, channels, random)
        count_of_queries = _whole(1, length, random)
        standing = torch.randperm(length, generator=random)[:count_of_queries].sort().values
        is_standing = bool(_whole(0, 1, random))
        candidates = torch.arange(0, length, 2) if K < length // 2 and _whole(0, 2, random) == 0 else None
        name = f"{i}: {kind}, {metric}, {batch} x {length} x {channels}, K={K}"
        yield Case(name, keys[:, standing], keys, K, metric, standing if is_standing else None, candidates)


def _whole(least: int, most: int, random: torch.Generator) -> int:
    return int(torch.randint(least, most + 1, (), generator=random))


def _rows(kind: str, batch: int, length: int, channels: int, random: torch.Generator) -> Tensor:
    shape = (batch, length, channels)
    normal = torch.randn(shape, generator=random)
    whole = torch.randint(-3, 4, shape, generator=random).float()
    power = float(_whole(2, 7, random))
    if kind == "large mean":
        return 10**power * (1 + torch.randn(channels, generator=random)) + whole
    if kind == "far clusters":
        return 10**power * (torch.arange(length) % 3 - 1.0)[:, None] + normal * 10 ** (power - 4)
    if kind == "signs":
        return whole.sign() + (whole == 0)
    if kind == "whole numbers":
        return whole
    if kind == "zeros":
        return normal * torch.randint(2, (batch, length, 1), generator=random)
    if kind == "duplicates":
        return normal[:, torch.randint(max(1, length // 3), (length,), generator=random)]
    if kind == "not numbers":
        odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0])[torch.randint(4, shape, generator=random)]
        return torch.where(torch.rand(shape, generator=random) < 1 / (4 * channels), odd, normal)
    if kind == "units":
        return normal * 10 ** float(_whole(-30, 18, random))
    if kind == "walks":
        return normal.cumsum(1) * 10 ** float(_whole(-15, 15, random))
    line = torch.linspace(-1, 1, length)[:, None] * torch.linspace(
        -1, 1, channels
    )  # only two directions for the cosine
    return line.expand(shape)
