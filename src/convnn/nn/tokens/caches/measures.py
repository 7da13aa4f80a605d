"""What a cache is worth: how much of the attention falls on what it reads, and how long a token takes."""

import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.nn.tokens.caches._checks import check_queries
from convnn.nn.tokens.caches.cache import KeyValueCache


class Trace(NamedTuple):
    """Queries, keys and values of one attention layer along a text.

    Attributes:
        queries: (B, H G, T, D).
        keys: (B, H, T, D).
        values: (B, H, T, E).
        prompt: number of tokens that are the prompt, below T; the others come one by one.
        present: (B, prompt) bool, False where a prompt is padded on the left; None where none is.
        scale: factor of the inner products; None is 1 / sqrt(D).
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    prompt: int
    present: Tensor | None = None
    scale: float | None = None

    def steps(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield queries, keys and values of each token after the prompt."""
        for t in range(self.prompt, self.keys.shape[2]):
            yield self.queries[:, :, t : t + 1], self.keys[:, :, t : t + 1], self.values[:, :, t : t + 1]


class CacheFigures(NamedTuple):
    """What a cache did along a trace, as means over its tokens, heads and batch.

    Attributes:
        budget: tokens that its policy may choose, or None.
        kept: tokens of the prompt that it holds in each head of keys.
        read: tokens that a query reads.
        mass: share of the attention to all tokens that falls on those.
        error: norm of the difference of the outputs to attention to all tokens, as a share of the norm of that.
        milliseconds: median time of a token, in which the layer attends.
    """

    budget: int | None
    kept: float
    read: float
    mass: float
    error: float
    milliseconds: float


class RecordingCache(KeyValueCache):
    """A cache that keeps everything, queries too."""

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Keep the queries of the prompt."""
        if queries is None:
            raise InputError("queries=None must be those of the prompt, which RecordingCache records")
        self._queries, self._prompt, self._present = [queries], keys.shape[2], present
        return super().score(keys, queries, present)

    def attend(self, queries: Tensor) -> Tensor:
        """Attend to everything, and keep the queries."""
        self._queries.append(queries)
        return super().attend(queries)

    @property
    def trace(self) -> Trace:
        """What it recorded."""
        return Trace(torch.cat(self._queries, 2), self.keys, self.values, self._prompt, self._present, self.scale)


def attention_mass(queries: Tensor, keys: Tensor, read: Tensor, *, scale: float | None = None) -> Tensor:
    r"""Return the share of the attention that falls on some of the tokens.

    .. math:: m = \sum_{j \in R} \operatorname{softmax}_j \left( \frac{q \cdot k_j}{\sqrt{D}} \right)

    Args:
        queries: (B, H G, D), one of each head.
        keys: (B, H, T, D), of all tokens; those of padding are none.
        read: (B, H, T) bool: R, of each head of keys.
        scale: factor of the inner products; None is 1 / sqrt(D).

    Returns:
        (B, H G), from 0 to 1.

    Raises:
        InputError: shapes do not agree.
    """
    check_queries(queries.unsqueeze(2), keys)
    if read.shape != keys.shape[:3] or read.dtype != torch.bool:
        raise InputError(f"read of shape {tuple(read.shape)} and {read.dtype} must be {tuple(keys.shape[:3])} bool")
    scale = keys.shape[3] ** -0.5 if scale is None else scale
    weights = (scale * queries.unflatten(1, (keys.shape[1], -1)) @ keys.mT).softmax(-1)
    return weights.masked_fill(~read.unsqueeze(2), 0).sum(-1).flatten(1)


@torch.no_grad()
def measure(cache: KeyValueCache, trace: Trace) -> CacheFigures:
    """Run a new cache along a trace, beside one that keeps everything, and return what it did.

    Both see the same queries, so that errors of one token do not change the next ones. The text must not be padded.

    Raises:
        InputError: the trace has padding or no token after its prompt, or the cache refuses the prompt.
    """
    if trace.present is not None and not bool(trace.present.all()):
        raise InputError("the trace has padding; measure one text at a time, or texts of the same length")
    if not 0 < trace.prompt < trace.keys.shape[2]:
        raise InputError(f"prompt={trace.prompt} must leave some of the {trace.keys.shape[2]} tokens of the trace")
    queries, keys, values = (one[:, :, : trace.prompt] for one in trace[:3])
    dense = KeyValueCache()
    for one in (cache, dense):
        one.prefill(keys, values, queries, scale=trace.scale)
    kept = cache.positions.shape[2]
    read, mass, times, differences, norms = [], [], [], [], []
    for step in trace.steps():
        start = time.perf_counter()
        output = cache.step(*step)
        times.append(1000 * (time.perf_counter() - start))
        expected = dense.step(*step)
        read.append(cache.read.sum(2).double().mean())
        mass.append(attention_mass(step[0][:, :, 0], dense.keys, cache.read, scale=trace.scale).double().mean())
        differences.append((output - expected).double().square().sum())
        norms.append(expected.double().square().sum())
    error = (torch.stack(differences).sum() / torch.stack(norms).sum()).sqrt()
    tokens, share = (torch.stack(one).mean().item() for one in (read, mass))
    return CacheFigures(cache.budget, kept, tokens, share, error.item(), median(times))
