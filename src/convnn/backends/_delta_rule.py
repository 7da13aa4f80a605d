"""The definition of the gated delta rule, chunk by chunk in plain PyTorch; see `convnn.ops.scan.delta_rule`.

Within a chunk, the products of the states with the vectors a solve a triangular system; states are computed between
chunks only. All factors of decay are at most 1.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 16


def delta_rule(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what is read (N, T, V) and the last state (N, V, D), of rows (N, T, D) and v (N, T, V)."""
    with torch.autocast(v.device.type, enabled=False):
        outputs, now = [], state.to(_type_of(v), copy=True)
        for rows in _chunks(r, k, v, log_decay, a, b):
            chunk = _Chunk(rows, now)
            outputs.append(chunk.read())
            now = chunk.last_state()
        out = torch.cat(outputs, 1) if outputs else torch.zeros_like(v)
        return out.to(v.dtype), now.to(state.dtype)


def delta_rule_backward(
    grad: Tensor,
    grad_last: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients of r, k, v, log_decay, a, b and the state, from those of what is read and the last state."""
    inputs = (r, k, v, log_decay, a, b)
    with torch.autocast(v.device.type, enabled=False):
        states, after = [state.to(_type_of(v))], grad_last.to(_type_of(v), copy=True)
        for rows in _chunks(*inputs):
            states.append(_Chunk(rows, states[-1]).last_state())
        found: list[list[Tensor]] = []
        above = list(_chunks(grad))
        for rows, (g,), before in reversed(list(zip(_chunks(*inputs), above, states[:-1], strict=True))):
            *gradients, after = _Chunk(rows, before).backward(g, after)
            found.append(gradients)
        found.reverse()
        nothing = [[torch.zeros_like(one) for one in inputs]]
        parts = zip(*(found or nothing), strict=True)
        whole = [torch.cat(part, 1).to(like.dtype) for part, like in zip(parts, inputs, strict=True)]
        return *whole, after.to(state.dtype)


def _type_of(v: Tensor) -> torch.dtype:
    return torch.promote_types(v.dtype, torch.float32)


def _chunks(*rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the rows (N, L, .) of each chunk, in float32 or wider."""
    for start in range(0, rows[0].shape[1], CHUNK):
        yield tuple(one[:, start : start + CHUNK].to(_type_of(one)) for one in rows)


class _Chunk:
    """A chunk of L tokens and the state (N, V, D) before it.

    Attributes:
        at, before: (N, L, D) decays from the start of the chunk up to a token, with and without its own.
        to: (N, L, L, D) decays of what token j wrote, when t reads it, for j <= t; otherwise 0.
        under: (N, L, L, D) decays of what token j wrote, before token t, for j < t; otherwise 0.
        rest: (N, L, D) decays of what a token wrote, up to the end of the chunk.
        u: (N, L, V) the products of the state before each token with its a.
    """

    def __init__(self, rows: tuple[Tensor, ...], state: Tensor) -> None:
        r, k, v, w, a, b = rows
        self.r, self.k, self.v, self.a, self.b, self.state = r, k, v, a, b, state
        self.at = w.cumsum(1).exp()
        self.before = F.pad(self.at[:, :-1], (0, 0, 1, 0), value=1.0)
        earlier = torch.ones(w.shape[1], w.shape[1], dtype=torch.bool, device=w.device).triu().unsqueeze(2)
        own = torch.eye(w.shape[1], dtype=torch.bool, device=w.device).unsqueeze(2)
        gaps = w.unsqueeze(2).masked_fill(earlier, 0).cumsum(1)  # differences of sums would lose small decays
        self.to = gaps.masked_fill(earlier & ~own, -torch.inf).exp()
        self.under = F.pad(self.to[:, :-1], (0, 0, 0, 0, 1, 0))
        self.rest = self.to[:, -1]
        self.ab, self.ak = _products(a, b, self.under), _products(a, k, self.under)
        self.rb, self.rk = _products(r, b, self.to), _products(r, k, self.to)
        self.u = self._solve(self.ab, (a * self.before) @ state.mT + self.ak @ v, upper=False)

    def read(self) -> Tensor:
        """Return what each token reads (N, L, V)."""
        return (self.r * self.at) @ self.state.mT + self.rb @ self.u + self.rk @ self.v

    def last_state(self) -> Tensor:
        """Return the state after the chunk."""
        written = self.u.mT @ (self.b * self.rest) + self.v.mT @ (self.k * self.rest)
        return self.state * self.at[:, -1:] + written

    def backward(self, g: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of r, k, v, w, a, b and of the state before, from those (N, L, V) and (N, V, D).

        The gradients of the states are a delta rule in the other direction, with a and b in each other's place.
        """
        last = self.last_state()
        p = self._solve(self.ab.mT, (self.b * self.rest) @ after.mT + self.rb.mT @ g, upper=True)
        of_r = self._read_across(g, self.at, self.to)
        of_a = self._read_across(p, self.before, self.under)
        of_k = self._written_across(self.v, g, p, after)
        of_b = self._written_across(self.u, g, p, after)
        of_v = (self.k * self.rest) @ after.mT + self.rk.mT @ g + self.ak.mT @ p
        change = self.r * of_r - self.k * of_k - self.b * of_b
        of_w = (last * after).sum(1, keepdim=True) + _from_the_end(change + self.a * of_a) - self.a * of_a
        of_state = after * self.at[:, -1:] + g.mT @ (self.r * self.at) + p.mT @ (self.a * self.before)
        return of_r, of_k, of_v, of_w, of_a, of_b, of_state

    def _read_across(self, rows: Tensor, decay: Tensor, decays: Tensor) -> Tensor:
        """Return rows (N, L, V) times the state at each token, (N, L, D)."""
        with_b = _weighted(rows @ self.u.mT, decays, self.b)
        return decay * (rows @ self.state) + with_b + _weighted(rows @ self.v.mT, decays, self.k)

    def _written_across(self, rows: Tensor, g: Tensor, p: Tensor, after: Tensor) -> Tensor:
        """Return rows (N, L, V) times the gradient of the state at each token, (N, L, D)."""
        of_r = _weighted(rows @ g.mT, self.to.transpose(1, 2), self.r)
        return self.rest * (rows @ after) + of_r + _weighted(rows @ p.mT, self.under.transpose(1, 2), self.a)

    @staticmethod
    def _solve(matrix: Tensor, right: Tensor, *, upper: bool) -> Tensor:
        """Return x with x - matrix x = right, for a matrix without a diagonal."""
        whole = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device) - matrix
        return torch.linalg.solve_triangular(whole, right, upper=upper, unitriangular=True)


def _products(rows: Tensor, columns: Tensor, decays: Tensor) -> Tensor:
    """Return the products (N, L, L) of rows t and j, each channel times its decay."""
    return torch.einsum("ntd,njd,ntjd->ntj", rows, columns, decays)


def _weighted(weights: Tensor, decays: Tensor, rows: Tensor) -> Tensor:
    """Return sums (N, L, D) over rows j with weights (N, L, L), each channel times its decay."""
    return torch.einsum("ntj,ntjd,njd->ntd", weights, decays, rows)


def _from_the_end(rows: Tensor) -> Tensor:
    """Return the sums of each row and all later ones."""
    return rows.flip(1).cumsum(1).flip(1)
