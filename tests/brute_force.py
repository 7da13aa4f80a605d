"""Slow definitions of the layers: one position at a time, plain sums and plain sorts, in float64.

Nothing here uses `convnn`. A map (C, *S) is stored as rows: one list of C numbers per position, in raster order.
"""

import itertools
import math
from fractions import Fraction

import torch
from torch import Tensor

Rows = list[list[float]]
Size = tuple[int, ...]


def convnn(x: Tensor, weight: Tensor, bias: Tensor | None = None, **settings: object) -> Tensor:
    """Compute ConvNN on (B, C, *S); settings as in the layers, and `draw`, the random sample as flat indices."""
    return _shuffled(x, settings, lambda image: _convnn_image(image, weight, bias, **settings))


def attention(
    x: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    pointwise: Tensor,
    pointwise_bias: Tensor | None,
    output: Tensor,
    **settings: object,
) -> Tensor:
    """Compute ConvNN attention on (B, C, *S), without dropout."""

    def image_to_image(image: Tensor) -> Tensor:
        rows, size = layout(image, settings["padding"], settings.get("aggregation_type", "Col"))
        compared_by = [apply(key, row) for row in rows]
        compared_with = [apply(query, row) for row in rows]
        values = [apply(value, row) for row in rows]
        candidates = find_candidates(size, **settings)
        out = []
        for t in inner(size, settings["padding"]):
            chosen = choose(t, compared_by[t], compared_with, candidates, settings["K"], settings["metric"])
            logits = [score(compared_by[t], compared_with[j], settings["metric"]) for j in chosen]
            logits[0] = own_logit(candidates is None, settings["metric"])
            alphas = softmax(logits)
            mixed = []
            for c in range(len(values[0])):
                total = 0.0 if bias is None else float(bias[c])
                for k, j in enumerate(chosen):
                    total += float(weight[c, 0, k]) * alphas[k] * values[j][c]
                mixed.append(total)
            out.append(apply(output, apply(pointwise, mixed, pointwise_bias)))
        return to_map(out, image.shape[1:])

    return _shuffled(x, settings, image_to_image)


def conv_new(x: Tensor, weight: Tensor, bias: Tensor | None = None, **settings: object) -> Tensor:
    """Compute a "same" convolution over the window, with coordinates and shuffles."""

    def image_to_image(image: Tensor) -> Tensor:
        size = tuple(image.shape[1:])
        rows, _ = layout(image, 0, settings.get("aggregation_type", "Col"))
        at = dict(zip(places(size), rows, strict=True))
        out = []
        for place in places(size):
            out.append([])
            for o in range(weight.shape[0]):
                total = 0.0 if bias is None else float(bias[o])
                for offset in places(tuple(weight.shape[2:])):
                    seen = tuple(p + d - (k - 1) // 2 for p, d, k in zip(place, offset, weight.shape[2:], strict=True))
                    for c, number in enumerate(at.get(seen, [])):  # zeros outside the map
                        total += float(weight[(o, c, *offset)]) * number
                out[-1].append(total)
        return to_map(out, size)

    return _shuffled(x, settings, image_to_image)


def branching(maps: list[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Compute a 1x1 convolution of the branches' concatenated maps."""
    out = []
    for images in zip(*maps, strict=True):
        rows = [list(itertools.chain(*stacked)) for stacked in zip(*map(rows_of, images), strict=True)]
        out.append(to_map([apply(weight, row, bias) for row in rows], images[0].shape[1:]))
    return torch.stack(out)


def unshuffle(x: Tensor, scale: int) -> Tensor:
    """Move space to channels, number by number: (B, C, *S) to (B, C * scale^axes, *S / scale)."""
    batch, channels, *size = x.shape
    axes = len(size)
    out = x.new_zeros(batch, channels * scale**axes, *[n // scale for n in size])
    for _, inside, outside in _shuffle_pairs(channels, tuple(out.shape[2:]), scale):
        out[(slice(None), *inside)] = x[(slice(None), *outside)]
    return out


def shuffle(x: Tensor, scale: int) -> Tensor:
    """Move channels to space, number by number: (B, C, *S) to (B, C / scale^axes, *S * scale)."""
    batch, channels, *size = x.shape
    channels //= scale ** len(size)
    out = x.new_zeros(batch, channels, *[n * scale for n in size])
    for _, inside, outside in _shuffle_pairs(channels, tuple(size), scale):
        out[(slice(None), *outside)] = x[(slice(None), *inside)]
    return out


def coordinates(size: Size) -> Rows:
    """Return coordinates, x first: -1 to 1 along the longest side, others centred in the same unit, one pixel at -1."""
    longest = max(size)
    if longest == 1:
        return [[-1.0] * len(size)]
    return [
        [(2 * p - (n - 1)) / (longest - 1) for p, n in zip(place[::-1], size[::-1], strict=True)]
        for place in places(size)
    ]


def similarity_rows(rows: Rows, size: Size, similarity_type: str, lambda_param: float) -> Rows:
    """Return the rows by which positions are compared."""
    if similarity_type == "Col":
        return rows
    if similarity_type == "Loc":
        return coordinates(size)
    numbers = [number for row in rows for number in row]
    mean = sum(numbers) / len(numbers)
    std = math.sqrt(sum((number - mean) ** 2 for number in numbers) / max(len(numbers) - 1, 1))
    features = [[lambda_param * number / (std + 1e-6) for number in row] for row in rows]
    places_ = [[(1 - lambda_param) * number for number in row] for row in coordinates(size)]
    return [a + b for a, b in zip(features, places_, strict=True)]


def score(a: list[float], b: list[float], metric: str) -> float:
    """Return the cosine, or minus the squared distance: larger is closer."""
    if metric == "euclidean":
        return -sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    lengths = math.sqrt(sum(p * p for p in a)) * math.sqrt(sum(q * q for q in b))
    if lengths == 0:
        return 0.0
    return min(1.0, max(-1.0, sum(p * q for p, q in zip(a, b, strict=True)) / lengths))


def choose(t: int, query: list[float], keys: Rows, candidates: list[int] | None, K: int, metric: str) -> list[int]:
    """Return the position itself and the K-1 best others; scores that agree to nine digits count as equal."""
    others = [j for j in (range(len(keys)) if candidates is None else candidates) if j != t]
    others.sort(key=lambda j: (-round(score(query, keys[j], metric), 9), j))
    chosen = [t, *others[: K - 1]]
    return chosen + [t] * (K - len(chosen))  # a sample among exactly K - 1 samples has no further other


def find_candidates(size: Size, **settings: object) -> list[int] | None:
    """Return the flat indices on the padded map `size` that may be chosen, or None for all."""
    n, padding = settings.get("num_samples", -1), settings["padding"]
    if settings.get("sampling_type", "all") == "all" or n == -1:
        return None
    if settings["sampling_type"] == "random":
        return None if n >= math.prod(size) else sorted(settings["draw"])
    sides = [side - 2 * padding for side in size]
    if any(n > side for side in sides):
        return None
    margin = settings.get("sample_padding", 0)
    grid = []
    for side in sides:
        last = side - 1 - margin
        points = [Fraction(margin) + Fraction(last - margin, max(n - 1, 1)) * i for i in range(n)]
        grid.append({int(point) + padding for point in points})
    return sorted(places(size).index(place) for place in itertools.product(*grid))


def own_logit(everything: bool, metric: str) -> float:
    """Return the logit of the position itself: score 1.1 or distance -0.1 among all, 1 among samples."""
    if not everything:
        return 1.0
    return 1.1 if metric == "cosine" else 0.1


def softmax(logits: list[float]) -> list[float]:
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    return [e / sum(exponentials) for e in exponentials]


def apply(matrix: Tensor, row: list[float], bias: Tensor | None = None) -> list[float]:
    """Return matrix times row plus bias."""
    start = [0.0] * len(matrix) if bias is None else bias.tolist()
    return [
        b + sum(w * v for w, v in zip(line, row, strict=True)) for b, line in zip(start, matrix.tolist(), strict=True)
    ]


def places(size: Size) -> list[tuple[int, ...]]:
    """Return all places of a map in raster order."""
    return list(itertools.product(*map(range, size)))


def rows_of(image: Tensor) -> Rows:
    """Return a map (C, *S) as rows."""
    return [[float(channel[place]) for channel in image] for place in places(tuple(image.shape[1:]))]


def to_map(rows: Rows, size: Size) -> Tensor:
    """Return rows as a map (C, *S)."""
    out = torch.zeros(len(rows[0]), *size, dtype=torch.float64)
    for place, row in zip(places(tuple(size)), rows, strict=True):
        for c, number in enumerate(row):
            out[(c, *place)] = number
    return out


def layout(image: Tensor, padding: int, aggregation_type: str) -> tuple[Rows, Size]:
    """Return the rows and size of the zero-padded image; coordinates are appended where they are aggregated."""
    size = tuple(n + 2 * padding for n in image.shape[1:])
    real = dict(zip(places(tuple(image.shape[1:])), rows_of(image), strict=True))
    rows = [real.get(tuple(p - padding for p in place), [0.0] * len(image)) for place in places(size)]
    if aggregation_type == "Loc_Col":
        rows = [a + b for a, b in zip(rows, coordinates(size), strict=True)]
    return rows, size


def inner(size: Size, padding: int) -> list[int]:
    """Return the flat indices of the positions that are not padding."""
    return [
        t
        for t, place in enumerate(places(size))
        if all(padding <= p < n - padding for p, n in zip(place, size, strict=True))
    ]


def _convnn_image(image: Tensor, weight: Tensor, bias: Tensor | None, **settings: object) -> Tensor:
    padding, K, metric = settings["padding"], settings["K"], settings["metric"]
    similarity_type = settings.get("similarity_type", "Col")
    features, size = layout(image, padding, "Col")
    values, _ = layout(image, padding, settings.get("aggregation_type", "Col"))
    keys = similarity_rows(features, size, similarity_type, settings.get("lambda_param", 0.5))
    candidates = find_candidates(size, **settings)
    out = []
    for t in inner(size, padding):
        chosen = choose(t, keys[t], keys, candidates, K, metric)
        if similarity_type == "Loc":
            chosen.sort()
        out.append([])
        for kernel, start in zip(weight.tolist(), [0.0] * len(weight) if bias is None else bias.tolist(), strict=True):
            terms = [kernel[c][k] * values[j][c] for c in range(len(kernel)) for k, j in enumerate(chosen)]
            out[-1].append(start + sum(terms))
    return to_map(out, image.shape[1:])


def _shuffled(x: Tensor, settings: dict, image_to_image) -> Tensor:
    pattern, scale = settings.get("shuffle_pattern", "NA"), settings.get("shuffle_scale", 0)
    if pattern in ("B", "BA"):
        x = unshuffle(x, scale)
    out = torch.stack([image_to_image(image) for image in x])
    return shuffle(out, scale) if pattern in ("A", "BA") else out


def _shuffle_pairs(channels: int, folded: Size, scale: int):
    """Yield pairs of corresponding (channel, *place) in the folded and the unfolded map."""
    axes = len(folded)
    for c in range(channels):
        for r, offset in enumerate(places((scale,) * axes)):
            for place in places(folded):
                if axes == 1:  # a plain reshape, as published
                    unfolded = (r * folded[0] + place[0],)
                else:
                    unfolded = tuple(p * scale + o for p, o in zip(place, offset, strict=True))
                yield c, (c * scale**axes + r, *place), (c, *unfolded)
