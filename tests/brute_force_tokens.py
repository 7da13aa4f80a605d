"""Slow definitions of the layers on tokens: one head and one token at a time, in float64, given their weights.

Nothing here uses `convnn`. A sequence (T, D) is stored as rows, one list of D numbers per token. Weights have the names
of the layer.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

import brute_force
from brute_force import Rows, Size, apply, coordinates, find_candidates, places, softmax

Weights = dict[str, Tensor]
Chooser = Callable[[int, list[float]], list[int]]


def attention(x: Tensor, weights: Weights, heads: int) -> Tensor:
    """Compute attention of every token to all tokens."""
    return _attend(x, weights, heads, lambda t, scores: list(range(len(scores))))


def kvt(x: Tensor, weights: Weights, heads: int, K: int) -> Tensor:
    """Compute attention of every token to the K with the highest scores."""
    return _attend(x, weights, heads, lambda t, scores: _best(scores)[:K])


def neighborhood(x: Tensor, weights: Weights, heads: int, size: Size, window: Size) -> Tensor:
    """Compute attention to a window of the grid, which starts at clip(i - k // 2, 0, n - k) along each axis."""
    grid = places(size)

    def choose(t: int, scores: list[float]) -> list[int]:
        starts = [min(max(i - k // 2, 0), n - k) for i, n, k in zip(grid[t], size, window, strict=True)]
        inside = [tuple(s + o for s, o in zip(starts, offset, strict=True)) for offset in places(window)]
        return [grid.index(place) for place in inside]

    return _attend(x, weights, heads, choose)


def local(x: Tensor, weights: Weights, heads: int, window: int) -> Tensor:
    """Compute attention within a window; queries are rotated by their place plus the window, keys by their place."""

    def choose(t: int, scores: list[float]) -> list[int]:
        return [j for j in range(len(scores)) if abs(j - t) <= window]

    return _attend(x, weights, heads, choose, query_start=window)


def sparse(x: Tensor, weights: Weights, heads: int, mode: str, context: int) -> Tensor:
    """Compute attention to the tokens that the mask admits."""
    sees = {
        "all": lambda distance: True,
        "local": lambda distance: distance <= context // 2,
        "strided": lambda distance: distance % context == 0,
    }[mode]
    return _attend(x, weights, heads, lambda t, scores: [j for j in range(len(scores)) if sees(abs(j - t))])


def convnn_attention(
    x: Tensor, weights: Weights, heads: int, K: int, *, metric: str, soft: bool, encoded: bool, **sampling: object
) -> Tensor:
    """Compute ConvNN attention without dropout; sampling as in the layer, and `draw`, the random sample."""
    kernel = weights["weight"].tolist()

    def sequence(rows: Rows) -> Rows:
        candidates = find_candidates((len(rows),), padding=0, **sampling)
        joined: Rows = [[] for _ in rows]
        for h in range(heads):  # as published, keys act as queries and queries as keys
            asking, asked, values = (_head(rows, weights, name, heads, h) for name in ("key", "query", "value"))
            width = len(values[0])
            if encoded:
                extra = coordinates((len(rows),))
                asking, asked, values = (
                    [a + b for a, b in zip(r, extra, strict=True)] for r in (asking, asked, values)
                )
            for t, query in enumerate(asking):
                scores = [_score(query, key, metric, width) for key in asked]
                chosen = _best(scores)[:K] if candidates is None else _self_first(t, scores, candidates, K)
                alphas = _weigh([scores[j] for j in chosen], candidates is not None, soft, metric)
                mixed = _convolve([[a * v for v in values[j]] for a, j in zip(alphas, chosen, strict=True)], kernel)
                joined[t] += apply(weights["pointwise.weight"], mixed) if "pointwise.weight" in weights else mixed
        return [apply(weights["output.weight"], row) for row in joined]

    return _by_sequence(x, sequence)


def convolution(x: Tensor, weights: Weights, heads: int) -> Tensor:
    """Compute linear, a convolution along the sequence that the heads share, linear; zeros outside the sequence."""
    kernel, bias = weights["weight"].tolist(), weights["bias"].tolist()

    def sequence(rows: Rows) -> Rows:
        rows = [apply(weights["input.weight"], row, weights["input.bias"]) for row in rows]
        width, length = len(rows[0]) // heads, len(kernel[0][0])
        joined: Rows = [[] for _ in rows]
        for h in range(heads):
            head = [row[h * width : (h + 1) * width] for row in rows]
            for t in range(len(rows)):
                under = [t + k - (length - 1) // 2 for k in range(length)]
                seen = [head[j] if 0 <= j < len(rows) else [0.0] * width for j in under]
                joined[t] += [a + b for a, b in zip(_convolve(seen, kernel), bias, strict=True)]
        return [apply(weights["output.weight"], row, weights["output.bias"]) for row in joined]

    return _by_sequence(x, sequence)


def branching(x: Tensor, weights: Weights, ratio: float, first: Callable, second: Callable) -> Tensor:
    """Pass the first floor(ratio * D) channels through one layer, the others through another, and mix both linearly."""
    if ratio in (0, 1):
        return first(x, part(weights, "convnn")) if ratio else second(x, part(weights, "partner"))
    cut = math.floor(ratio * x.shape[-1])
    halves = first(x[..., :cut], part(weights, "convnn")), second(x[..., cut:], part(weights, "partner"))
    return _by_sequence(
        torch.cat(halves, dim=-1), lambda rows: [apply(weights["mix.weight"], row, weights["mix.bias"]) for row in rows]
    )


def part(weights: Weights, name: str) -> Weights:
    """Return the weights of one part of a layer, by their names within the part."""
    return {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}


def _attend(x: Tensor, weights: Weights, heads: int, choose: Chooser, query_start: int | None = None) -> Tensor:
    """Compute softmax attention of every token t to `choose(t, scores)`; rotated if `query_start` is not None."""

    def sequence(rows: Rows) -> Rows:
        joined: Rows = [[] for _ in rows]
        for h in range(heads):
            queries, keys, values = (_head(rows, weights, name, heads, h) for name in ("query", "key", "value"))
            if query_start is not None:
                queries, keys = _turn(queries, query_start), _turn(keys, 0)
            for t, query in enumerate(queries):
                scores = [_score(query, key, "matmul", len(query)) for key in keys]
                chosen = choose(t, scores)
                alphas = softmax([scores[j] for j in chosen])
                joined[t] += [
                    sum(a * values[j][c] for a, j in zip(alphas, chosen, strict=True)) for c in range(len(query))
                ]
        return [apply(weights["output.weight"], row) for row in joined]

    return _by_sequence(x, sequence)


def _head(rows: Rows, weights: Weights, name: str, heads: int, h: int) -> Rows:
    """Return the projected rows of head h."""
    matrix = weights[f"{name}.weight"]
    width = len(matrix) // heads
    return [apply(matrix[h * width : (h + 1) * width], row) for row in rows]


def _beside(left: Rows, right: Rows) -> Rows:
    return [a + b for a, b in zip(left, right, strict=True)]


def _score(a: list[float], b: list[float], metric: str, width: int) -> float:
    """Return the inner product over the root of the width, the cosine, or minus the distance: larger is closer."""
    if metric == "matmul":
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(width)
    closeness = brute_force.score(a, b, metric)
    return -math.sqrt(-closeness) if metric == "euclidean" else closeness


def _best(scores: list[float]) -> list[int]:
    """Return indices by score, largest first; scores that agree to nine digits count as equal and go by index."""
    return sorted(range(len(scores)), key=lambda j: (-round(scores[j], 9), j))


def _self_first(t: int, scores: list[float], candidates: list[int], K: int) -> list[int]:
    """Return the token itself and the K - 1 best samples; a token among exactly K - 1 samples repeats itself."""
    chosen = [t, *[j for j in _best(scores) if j in candidates and j != t][: K - 1]]
    return chosen + [t] * (K - len(chosen))


def _weigh(scores: list[float], sampled: bool, soft: bool, metric: str) -> list[float]:
    """Return the factor of each neighbour; the token itself among samples scores 1."""
    if not soft and metric == "euclidean":
        scores = [1 / (-score + 1e-8) for score in scores]
    if sampled:
        scores = [1.0, *scores[1:]]
    return softmax(scores) if soft else scores


def _convolve(seen: Rows, kernel: list[list[list[float]]]) -> list[float]:
    """Apply a kernel (C_out, C, K) or, depthwise, (C, 1, K) to K rows of C numbers."""
    if len(kernel[0]) == len(seen[0]):
        channels = [range(len(seen[0]))] * len(kernel)
    else:
        channels = [[c] for c in range(len(kernel))]
    return [
        sum(line[i][k] * row[c] for i, c in enumerate(used) for k, row in enumerate(seen))
        for line, used in zip(kernel, channels, strict=True)
    ]


def _turn(rows: Rows, start: int) -> Rows:
    """Rotate each pair of channels (c, c + d / 2) of the t-th row by (start + t) * 10000^(-2c / d)."""
    width = len(rows[0])
    speeds = (1 / 10000 ** (torch.arange(0, width, 2) / width)).tolist()  # float32 numbers, as the package has them
    turned = []
    for t, row in enumerate(rows, start):
        pairs = zip(row[: width // 2], row[width // 2 :], speeds, strict=True)
        points = [complex(a, b) * complex(math.cos(t * speed), math.sin(t * speed)) for a, b, speed in pairs]
        turned.append([p.real for p in points] + [p.imag for p in points])
    return turned


def _by_sequence(x: Tensor, sequence: Callable[[Rows], Rows]) -> Tensor:
    """Apply a function to each sequence of (B, T, D)."""
    return torch.stack([torch.tensor(sequence(rows), dtype=torch.float64) for rows in x.tolist()])
