"""The time of a token with what each cache keeps or fetches, beside attention to all tokens, on one layer."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from convnn.bench.measure import milliseconds, ratio
from convnn.nn.tokens.caches import ClusteredCache, GraphKVCache, KeyValueCache, RandomCache, SinkCache, SnapKVCache

HEADS, KEY_HEADS, D = 8, 2, 64
RUN = 12  # tokens between two turns of the query
ALL = "all tokens"


def measure_caches(lengths: tuple[int, ...], budget: int, tokens: int) -> dict[str, Any]:
    """Time the prompt and a token for each length of the prompt, and compare outputs where nothing is left out."""
    return {"budget": budget, "tokens": tokens, "rows": [_measure(one, budget, tokens) for one in lengths]}


def contestants(budget: int) -> dict[str, Callable[[], KeyValueCache]]:
    return {
        ALL: KeyValueCache,
        "SnapKV": partial(SnapKVCache, budget),
        "GraphKV": partial(GraphKVCache, budget),
        "sinks": partial(SinkCache, budget),
        "random": partial(RandomCache, budget),
        "LouisKV": partial(ClusteredCache, budget),
    }


def _measure(length: int, budget: int, tokens: int) -> dict[str, Any]:
    torch.manual_seed(0)
    prompt = (
        torch.randn(1, KEY_HEADS, length, D),
        torch.randn(1, KEY_HEADS, length, D),
        torch.randn(1, HEADS, length, D),
    )
    for make in contestants(budget).values():
        make().prefill(*prompt)  # warms up
    made = {name: make() for name, make in contestants(budget).items()}
    filling = {name: _seconds(partial(cache.prefill, *prompt)) for name, cache in made.items()}
    texts = {name: _next_tokens() for name in made}
    with torch.no_grad():
        times = milliseconds({name: partial(_step, made[name], texts[name]) for name in made}, tokens)
    result = {
        "length": length,
        "prompt ms": {name: 1000 * one for name, one in filling.items()},
        "ms": {name: statistics.median(times[name]) for name in made},
        "slowest ms": {name: max(times[name]) for name in made},
        "times faster": {name: 1 / ratio(times, name, ALL) for name in made},
        "read": {name: cache.read.sum(2).double().mean().item() for name, cache in made.items()},
        "agrees": _agrees(prompt, length),
    }
    print(result, flush=True)
    return result


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _next_tokens() -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    """Return a function that makes the next token: its query turns after each run."""
    generator, places = torch.Generator().manual_seed(1), count()
    turn = torch.randn(1, HEADS, 1, D, generator=generator)

    def make() -> tuple[Tensor, Tensor, Tensor]:
        if next(places) % RUN == 0:
            turn.normal_(generator=generator)
        noise = 0.2 * torch.randn(1, HEADS, 1, D, generator=generator)
        return turn + noise, *torch.randn(2, 1, KEY_HEADS, 1, D, generator=generator)

    return make


def _step(cache: KeyValueCache, token: Callable[[], tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    return cache.step(*token())


def _agrees(prompt: tuple[Tensor, Tensor, Tensor], length: int) -> bool:
    """Compare three tokens of each cache, with a budget of all tokens, with attention to all."""
    evicting = (SnapKVCache, GraphKVCache, SinkCache, RandomCache)
    made = [KeyValueCache(), ClusteredCache(length + RUN), *(make(length) for make in evicting)]
    texts = [_next_tokens() for _ in made]
    for cache in made:
        cache.prefill(*prompt)
    for _ in range(3):
        expected, *found = (_step(cache, text) for cache, text in zip(made, texts, strict=True))
        if not all(torch.allclose(one, expected, atol=1e-5) for one in found):
            return False
    return True
