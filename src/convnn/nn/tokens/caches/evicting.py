"""Caches that drop tokens of a prompt once and for all, and differ in the score by which they do."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_odd
from convnn.nn.tokens.caches.cache import EvictingCache
from convnn.nn.tokens.caches.importance import POOLS, decay_neighbors, window_importance


class SnapKVCache(EvictingCache):
    """A cache that keeps the tokens to which the last tokens of the prompt attend, by `window_importance`.

    Args:
        budget: tokens of the prompt that stay in each head of keys, those of the window included.
        window: last tokens of the prompt, which always stay and whose attention counts.
        kernel: neighbouring tokens that are pooled, odd.
        pool: "mean" or "max".

    Raises:
        InputError: an argument is out of range; in prefill: the prompt has fewer tokens than the budget, or no queries.

    Reference:
        Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv 2404.14469.

    Example:
        >>> cache = SnapKVCache(8, window=4)
        >>> q, k, v = torch.randn(1, 4, 20, 16), torch.randn(1, 2, 20, 16), torch.randn(1, 2, 20, 16)
        >>> cache.prefill(k, v, q)
        >>> cache.step(q[:, :, :1], k[:, :, :1], v[:, :, :1]).shape, int(cache.read.sum(2).max())
        (torch.Size([1, 4, 1, 16]), 9)
    """

    def __init__(self, budget: int, *, window: int = 32, kernel: int = 5, pool: str = "mean") -> None:
        super().__init__(budget, window=window)
        check_odd("kernel", kernel)
        check_choice("pool", pool, POOLS)
        self.kernel, self.pool = kernel, pool

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Return the importance (B, H, T - window) of the tokens before the window."""
        self.check_prompt(keys)
        if queries is None:
            raise InputError(f"queries=None must be those of the prompt, by which {type(self).__name__} scores")
        return window_importance(
            queries,
            keys,
            window=self.window,
            kernel=self.kernel,
            pool=self.pool,
            present=present,
            scale=self.scale,
        )


class GraphKVCache(SnapKVCache):
    """A cache whose scores are those of `SnapKVCache`, lowered for tokens that resemble more important ones.

    Args:
        budget: tokens of the prompt that stay in each head of keys, those of the window included.
        window: last tokens of the prompt, which always stay and whose attention counts.
        kernel: neighbouring tokens that are pooled, odd.
        pool: "mean" or "max".
        num_sources: tokens that lower others in each round of `decay_neighbors`; the published number is not known.
        num_neighbors: tokens that each of them lowers; with 0, this is SnapKV.
        rounds: rounds of it, each with new sources.

    Raises:
        InputError: an argument is out of range; in prefill: the prompt has fewer tokens than the budget, or than these
            numbers need.

    Reference:
        Li et al., "GraphKV: Breaking the Static Selection Paradigm with Graph-Based KV Cache Eviction", arXiv
        2509.00388.
    """

    def __init__(
        self,
        budget: int,
        *,
        window: int = 32,
        kernel: int = 5,
        pool: str = "mean",
        num_sources: int = 16,
        num_neighbors: int = 32,
        rounds: int = 1,
    ) -> None:
        super().__init__(budget, window=window, kernel=kernel, pool=pool)
        check_at_least("num_sources", num_sources, 1)
        check_at_least("num_neighbors", num_neighbors, 0)
        check_at_least("rounds", rounds, 0)
        self.num_sources, self.num_neighbors, self.rounds = num_sources, num_neighbors, rounds

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Return the lowered importance (B, H, T - window) of the tokens before the window."""
        return decay_neighbors(
            super().score(keys, queries, present),
            keys[:, :, : -self.window],
            num_sources=self.num_sources,
            num_neighbors=self.num_neighbors,
            rounds=self.rounds,
            present=None if present is None else present[:, None, : -self.window],
        ).scores


class SinkCache(EvictingCache):
    """A cache that keeps the first tokens of a prompt, which much attention ends in, and the last ones.

    It drops tokens of the prompt only, and positions stay those of the text, where StreamingLLM drops generated tokens
    too and counts positions inside the cache.

    Args:
        budget: tokens of the prompt that stay, all but `sinks` the last ones.
        sinks: first tokens of the prompt that stay.

    Raises:
        InputError: sinks is negative, or budget not above it; in prefill: the prompt has fewer tokens than the budget.

    Reference:
        Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453.
    """

    def __init__(self, budget: int, *, sinks: int = 4) -> None:
        check_at_least("sinks", sinks, 0)
        check_at_least("budget", budget, sinks + 1)
        super().__init__(budget, window=budget - sinks)
        self.sinks = sinks

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Return scores (B, H, T - window) that fall with the place in the prompt."""
        before = self.check_prompt(keys)
        return -torch.arange(before, device=keys.device, dtype=torch.float64).expand(*keys.shape[:2], before)


class RandomCache(EvictingCache):
    """A cache that keeps random tokens of a prompt and the last ones: what any rule should be above.

    Args:
        budget: tokens of the prompt that stay in each head of keys, those of the window included.
        window: last tokens of the prompt that always stay.
        seed: of the choice.

    Raises:
        InputError: an argument is out of range; in prefill: the prompt has fewer tokens than the budget.
    """

    def __init__(self, budget: int, *, window: int = 32, seed: int = 0) -> None:
        super().__init__(budget, window=window)
        self.seed = seed

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Return random scores (B, H, T - window)."""
        generator = torch.Generator().manual_seed(self.seed)
        scores = torch.rand(*keys.shape[:2], self.check_prompt(keys), generator=generator, dtype=torch.float64)
        return scores.to(keys.device)
