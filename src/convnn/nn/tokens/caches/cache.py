"""The cache of one attention layer: what stays of the prompt, and what each query reads of that."""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn.tokens.caches._checks import check_heads, check_present, check_queries
from convnn.ops import Neighbors, select


class KeyValueCache:
    r"""Keys and values of one attention layer; as it is it keeps everything, and subclasses are policies.

    .. math:: y_t = \sum_{j \in R_t}
        \operatorname{softmax}_{j \in R_t} \left( \frac{q_t \cdot k_j}{\sqrt{D}} \right) v_j

    Three methods are the policy: `score` says how important each token of a prompt is, `keep` which of them stay, and
    `fetch` which of those a query reads, :math:`R_t`. Tokens that are generated are appended, and stay. All queries of
    a group, which share a head of keys, read the same tokens.

    A cache is used once: `prefill` with a prompt, then `step` after step. It has no weights, and its choices pass no
    gradient; the output is differentiable in the queries, and in the keys and values that are read.

    Attributes:
        budget: tokens that the policy may choose, or None where it does not choose.
        keys, values: (B, H, N, D), those that are held, in the order of the text.
        positions: (B, H, N) int64, the place of each in the text.
        held: (B, H, N) bool, False where a place is padding; None where nothing is.
        seen: number of tokens of the text so far, padding included.
    """

    budget: int | None = None
    keys: Tensor
    values: Tensor
    positions: Tensor
    held: Tensor | None
    scale: float
    seen = 0
    _fetched: Neighbors | None = None

    @cached_property
    def _rooms(self) -> dict[str, "_Room"]:
        return {}

    def score(self, keys: Tensor, queries: Tensor | None, present: Tensor | None) -> Tensor:
        """Return the importance (B, H, T') of the first tokens of a prompt, of which some leave: here, of none."""
        return keys.new_zeros(*keys.shape[:2], 0)

    def keep(self, scores: Tensor, keys: Tensor) -> Tensor | None:
        """Return which tokens (B, H, K) of a prompt stay, in ascending order, or None for all of them."""
        return None

    def fetch(self, queries: Tensor) -> Neighbors | None:
        """Return which held tokens (B, H, R) the queries (B, H, G, D) of the last token read, or None for all."""
        return None

    def prefill(
        self,
        keys: Tensor,
        values: Tensor,
        queries: Tensor | None = None,
        *,
        present: Tensor | None = None,
        scale: float | None = None,
    ) -> None:
        """Take in a prompt, of which some tokens are kept.

        Args:
            keys: (B, H, T, D), with whatever encodes their positions.
            values: (B, H, T, E).
            queries: (B, H G, T, D), of the tokens of the prompt, or of the last of them; some policies do without.
            present: (B, T) bool, False where a shorter prompt is padded, on the left; None where none is.
            scale: factor of the inner products; None is 1 / sqrt(D).

        Raises:
            InputError: shapes do not agree, keys are not finite, there was a prompt already, or the policy cannot
                choose from this prompt.
        """
        if self.seen:
            raise InputError(f"a cache takes one prompt, and has {self.seen} tokens; make a new one")
        check_heads(keys, values)
        check_present(present, keys)
        if queries is not None:
            check_queries(queries, keys)
        self.scale = keys.shape[-1] ** -0.5 if scale is None else scale
        with torch.no_grad():
            scores = self.score(keys, queries, present)
            if present is not None:
                scores = scores.masked_fill(~present[:, None, : scores.shape[2]], -torch.inf)
            kept = self.keep(scores, keys)
        if kept is None:
            kept = torch.arange(keys.shape[2], device=keys.device).expand(keys.shape[:3])
            self.keys, self.values = keys, values
        else:
            self.keys, self.values = (rows_of(one, kept) for one in (keys, values))
        self.positions, self.seen = kept, keys.shape[2]
        self.held = None if present is None else present.unsqueeze(1).expand(keys.shape[:3]).gather(2, kept)

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Add the keys and values (B, H, 1, D) of a generated token, or of several.

        Raises:
            InputError: there was no prompt, or shapes do not agree with it.
        """
        if not self.seen:
            raise InputError("the cache has no prompt yet; call prefill first")
        check_heads(keys, values)
        if keys.shape[:2] != self.keys.shape[:2] or keys.shape[3] != self.keys.shape[3]:
            raise InputError(f"keys {tuple(keys.shape)} must be those of the cache, {tuple(self.keys.shape)}, but in T")
        count = keys.shape[2]
        places = torch.arange(self.seen, self.seen + count, device=keys.device).expand(*keys.shape[:2], count)
        self.extend(keys=keys, values=values, positions=places)
        self.seen += count
        if self.held is not None:
            self.extend(held=torch.ones_like(places, dtype=torch.bool))

    def extend(self, **rows: Tensor) -> None:
        """Add rows (B, H, T, ...) to the attributes of these names.

        In place where no gradient can be asked for, with room for an eighth more when they are copied, so that a token
        does not cost a copy of all others.
        """
        for name, new in rows.items():
            old, buffer = getattr(self, name), self._rooms.get(name)
            start, end = old.shape[2], old.shape[2] + new.shape[2]
            if torch.is_grad_enabled() or new.dtype != old.dtype:
                setattr(self, name, torch.cat([old, new], 2))
                continue
            if buffer is None or not buffer.fits(old, end):
                buffer = self._rooms[name] = _Room(old, end + end // 8)
            buffer.rows[:, :, start:end], buffer.used = new, end
            setattr(self, name, buffer.rows[:, :, :end])

    def attend(self, queries: Tensor) -> Tensor:
        """Return the attention (B, H G, M, E) of queries (B, H G, M, D) to what each reads of the cache.

        Raises:
            InputError: there was no prompt, or shapes do not agree with it.
        """
        if not self.seen:
            raise InputError("the cache has no prompt yet; call prefill first")
        check_queries(queries, self.keys)
        grouped = queries.unflatten(1, (self.keys.shape[1], -1))  # the queries of a group stand below each other
        with torch.no_grad():
            self._fetched = self.fetch(grouped[..., -1, :])
        keys, values, allowed = self.keys, self.values, self.held
        if self._fetched is not None:
            keys, values = (rows_of(one, self._fetched.indices) for one in (keys, values))
            allowed = None if self._fetched.absent is None else ~self._fetched.absent
        mask = None if allowed is None else allowed.unsqueeze(2)
        found = F.scaled_dot_product_attention(grouped.flatten(2, 3), keys, values, mask, scale=self.scale)
        return found.unflatten(2, grouped.shape[2:4]).flatten(1, 2)

    def step(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Append the next token, and return the attention (B, H G, 1, E) of its queries (B, H G, 1, D)."""
        self.append(keys, values)
        return self.attend(queries)

    @property
    def read(self) -> Tensor:
        """(B, H, seen) bool: which tokens of the text the last query read, or could read where there was none."""
        places, allowed = self.positions, self.held
        if self._fetched is not None:
            places = places.gather(2, self._fetched.indices)
            allowed = None if self._fetched.absent is None else ~self._fetched.absent
        allowed = torch.ones_like(places, dtype=torch.bool) if allowed is None else allowed
        found = torch.zeros(*places.shape[:2], self.seen, dtype=torch.long, device=places.device)
        return found.scatter_add_(2, places, allowed.long()) > 0

    def reorder(self, rows: Tensor) -> None:
        """Continue with the given rows (B',) of the batch, as beam search does after every token."""
        for name, one in vars(self).items():
            if isinstance(one, Tensor):
                setattr(self, name, one[rows])
        if self._fetched is not None:
            self._fetched = self._fetched._map(lambda tensor: tensor[rows])


class _Room:
    """Memory for rows (B, H, N, ...) and for more of them.

    Attributes:
        rows: (B, H, size, ...).
        used: how many of them are written.
    """

    def __init__(self, rows: Tensor, size: int) -> None:
        self.rows, self.used = rows.new_empty(*rows.shape[:2], size, *rows.shape[3:]), rows.shape[2]
        self.rows[:, :, : self.used] = rows

    def fits(self, rows: Tensor, size: int) -> bool:
        """Return whether these are the rows that were written last, and more may follow, up to this size."""
        is_own = rows.data_ptr() == self.rows.data_ptr() and rows.shape[:2] == self.rows.shape[:2]
        is_last = rows.shape[2] == self.used  # not if a copy of the cache went on
        may_change = torch.is_inference_mode_enabled() or not self.rows.is_inference()
        return is_own and is_last and may_change and size <= self.rows.shape[2]


class EvictingCache(KeyValueCache):
    """A cache that keeps the tokens of a prompt with the highest scores, and the last ones.

    Subclasses define `score`. Of equal scores the earlier token stays.

    Args:
        budget: tokens of the prompt that stay in each head of keys, those of the window included.
        window: last tokens of the prompt that always stay.

    Raises:
        InputError: window is less than 1, or budget less than window; in prefill: budget exceeds the prompt.
    """

    budget: int

    def __init__(self, budget: int, *, window: int = 32) -> None:
        check_at_least("window", window, 1)
        check_at_least("budget", budget, window)
        self.budget, self.window = budget, window

    def keep(self, scores: Tensor, keys: Tensor) -> Tensor:
        """Return the kept tokens (B, H, budget), by scores (B, H, T - window)."""
        total = keys.shape[2]
        last = torch.arange(total - self.window, total, device=keys.device).expand(*keys.shape[:2], self.window)
        if self.budget == self.window:
            return last
        best = select.highest(scores, self.budget - self.window)
        return torch.cat([best.sort(dim=-1).values, last], 2)

    def check_prompt(self, keys: Tensor) -> int:
        """Return the number of tokens before the window.

        Raises:
            InputError: the prompt has fewer tokens than the budget, or none before the window.
        """
        total = keys.shape[2]
        if self.budget > total or self.window >= total:
            raise InputError(
                f"budget={self.budget} must be at most, and window={self.window} below, the {total} tokens of the"
                " prompt; KeyValueCache keeps all of them"
            )
        return total - self.window


def rows_of(x: Tensor, indices: Tensor) -> Tensor:
    """Return the rows (B, H, K, D) of x (B, H, N, D) at indices (B, H, K)."""
    return x.gather(2, indices.unsqueeze(3).expand(*indices.shape, x.shape[3]))
