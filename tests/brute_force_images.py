"""Slow definitions of the layers on images, from their formulas, position by position, without our operators."""

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

Place = tuple[int, int]


def _places(x: Tensor) -> list[Place]:
    return [(h, w) for h in range(x.shape[1]) for w in range(x.shape[2])]


def _on_grid(places: list[Place], stride: Place) -> list[Place]:
    return [(h, w) for h, w in places if h % stride[0] == 0 and w % stride[1] == 0]


def _at(x: Tensor, place: Place) -> Tensor:
    return x[:, place[0], place[1]]


def _image(rows: dict[Place, Tensor]) -> Tensor:
    """Return outputs by place as a map (C, H', W')."""
    lines = sorted({h for h, _ in rows})
    return torch.stack([torch.stack([rows[p] for p in sorted(rows) if p[0] == h], dim=1) for h in lines], dim=1)


def _for_each_image(one_image, x: Tensor, *arguments: object, **settings: object) -> Tensor:
    return torch.stack([one_image(image, *arguments, **settings) for image in x])


def _linear(weight: Tensor, x: Tensor, groups: int) -> Tensor:
    """Return weight (C_out, C / groups) times x (C,), each group of outputs with its group of inputs."""
    outputs, inputs = weight.shape
    parts = []
    for o in range(outputs):
        first = (o * groups // outputs) * inputs
        parts.append(sum(weight[o, i] * x[first + i] for i in range(inputs)))
    return torch.stack(parts)


def _most(differences: list[Tensor], channels: int) -> Tensor:
    """Return the maximum of several vectors in each channel."""
    return torch.stack([max((d[c] for d in differences), key=Tensor.item) for c in range(channels)])


def nearest(features: dict[Place, Tensor], here: Place | None, query: Tensor, K: int, dilation: int) -> list[Place]:
    """Return every d-th of the K d places nearest to a query, its own place first."""
    away = {place: 0.0 if place == here else (query - f).square().sum().item() + 1e-30 for place, f in features.items()}
    return sorted(away, key=away.get)[: K * dilation : dilation]


def _unit(x: Tensor) -> Tensor:
    return x / max(x.norm().item(), 1e-12)


def _cells(x: Tensor, side: int) -> dict[Place, Tensor]:
    """Return means over cells of positions."""
    cells = {}
    for h in range(x.shape[1] // side):
        for w in range(x.shape[2] // side):
            inside = [(h * side + i, w * side + j) for i in range(side) for j in range(side)]
            cells[h, w] = sum(_at(x, p) for p in inside) / len(inside)
    return cells


def vig(x: Tensor, named: dict[str, Tensor], **settings: object) -> Tensor:
    return _for_each_image(_vig, x, named, **settings)


def _vig(x, named, *, K=9, graph_conv="max_relative", graph_dilation=1, reduction=1, groups=1, stride=(1, 1)):
    weight, bias = named["weight"], named["bias"]
    cells = _cells(x, reduction)
    by_length_one = {p: _unit(c.detach()) for p, c in cells.items()}
    rows = {}
    for p in _on_grid(_places(x), stride):
        here = p if reduction == 1 else None
        chosen = nearest(by_length_one, here, _unit(_at(x, p).detach()), K, graph_dilation)
        if graph_conv == "gin":
            total = (1 + named["eps"]) * _at(x, p) + sum(cells[j] for j in chosen)
            rows[p] = _linear(weight[:, 0], total, groups) + bias
            continue
        if graph_conv == "sage":
            sources = [_linear(named["edge.0.weight"], cells[j], groups) + named["edge.0.bias"] for j in chosen]
            m = _most([F.gelu(source) for source in sources], x.shape[0])
        else:
            m = _most([cells[j] - _at(x, p) for j in chosen], x.shape[0])
        rows[p] = _linear(weight[:, 0], _at(x, p), groups) + _linear(weight[:, 1], m, groups) + bias
    return _image(rows)


def edge_conv(x: Tensor, weight: Tensor, bias: Tensor, mlp: list[tuple[Tensor, Tensor]], **settings: object) -> Tensor:
    return _for_each_image(_edge_conv, x, weight, bias, mlp, **settings)


def _edge_conv(
    x,
    weight,
    bias,
    mlp,
    *,
    K=9,
    graph_dilation=1,
    groups=1,
    stride=(1, 1),
    active=F.relu,
    scale_features=False,
    reduction=1,
):
    rows = {}
    compared = (lambda f: _unit(f.detach())) if scale_features else Tensor.detach
    cells = _cells(x, reduction)
    by_length = {q: compared(f) for q, f in cells.items()}
    for p in _on_grid(_places(x), stride):
        edges = []
        for j in nearest(by_length, p if reduction == 1 else None, compared(_at(x, p)), K, graph_dilation):
            u, v = _at(x, p), cells[j] - _at(x, p)
            h = active(_linear(weight[:, 0], u, groups) + _linear(weight[:, 1], v, groups) + bias)
            for more, constant in mlp:
                h = active(_linear(more, h, groups) + constant)
            edges.append(h)
        rows[p] = _most(edges, len(bias))
    return _image(rows)


def positional(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Return x + P * x for one image, with zero padding."""
    side = kernel.shape[-1]
    out = x.clone()
    for h, w in _places(x):
        for c in range(x.shape[0]):
            total = bias[c]
            for i in range(side):
                for j in range(side):
                    row, column = h + i - side // 2, w + j - side // 2
                    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                        total = total + kernel[c, 0, i, j] * x[c, row, column]
            out[c, h, w] = x[c, h, w] + total
    return out


def axial(
    x: Tensor, kind: str, weight: Tensor, bias: Tensor, encoding: tuple[Tensor, Tensor] | None, **settings
) -> Tensor:
    return _for_each_image(_axial, x, kind, weight, bias, encoding, **settings)


def _axial(x, kind, weight, bias, encoding, *, step=2, groups=1, stride=(1, 1)):
    x = x if encoding is None else positional(x, *encoding)
    threshold = _threshold(x) if kind == "DAGC" else None
    rows = {}
    for p in _on_grid(_places(x), stride):
        differences = [torch.zeros(x.shape[0], dtype=x.dtype)]
        for j in axial_places(kind, p, x.shape[1], x.shape[2], step):
            difference = _at(x, j) - _at(x, p)
            if threshold is None or difference.abs().sum().item() < threshold:
                differences.append(-difference if kind == "SVGA" else difference)
        m = _most(differences, x.shape[0])
        rows[p] = _linear(weight[:, 0], _at(x, p), groups) + _linear(weight[:, 1], m, groups) + bias
    return _image(rows)


def axial_places(kind: str, place: Place, height: int, width: int, step: int) -> list[Place]:
    h, w = place
    if kind == "MGC":
        found = [((h + d) % height, w) for d in (step, -step) if step < height]
        return found + [(h, (w + d) % width) for d in (step, -step) if step < width]
    found = [((h - d) % height, w) for d in range(step, height, step)]
    return found + [(h, (w - d) % width) for d in range(step, width, step)]


def _threshold(x: Tensor) -> float:
    height, width = x.shape[1:]
    if height * width == 1:
        return 0.0
    down, right = -(-height // 2), -(-width // 2)
    away = []
    for h, w in _places(x):
        other = _at(x, ((h - down) % height, (w - right) % width))
        away.append((_at(x, (h, w)) - other).abs().sum().item())
    mean = sum(away) / len(away)
    return mean - sqrt(sum((a - mean) ** 2 for a in away) / (len(away) - 1))


def neighborhood(x: Tensor, qkv, output, relative_bias: Tensor | None, **settings: object) -> Tensor:
    return _for_each_image(_neighborhood, x, qkv, output, relative_bias, **settings)


def _neighborhood(x, qkv, output, relative_bias, *, k=3, apart=1, scale=None, heads=1, groups=1, stride=(1, 1)):
    channels, height, width = x.shape
    padded = F.pad(x, [0, max(0, k * apart - width), 0, max(0, k * apart - height)])
    projected = {p: _linear(qkv[0], _at(padded, p), groups) + qkv[1] for p in _places(padded)}
    d = channels // heads
    sizes = padded.shape[1:]
    rows = {}
    for p in _on_grid(_places(x), stride):
        down, right = (_nearby(i, list(range(i % apart, n, apart)), k) for i, n in zip(p, sizes, strict=True))
        window = [(i, j) for i in down for j in right]
        parts = []
        for head in range(heads):
            group, inside = divmod(head, heads // groups)
            share = channels // groups
            begin = 3 * share * group + d * inside  # queries, keys and values of a group follow each other
            q = projected[p][begin : begin + d] * (d**-0.5 if scale is None else scale)
            logits = []
            for j in window:
                logit = q @ projected[j][begin + share : begin + share + d]
                if relative_bias is not None:
                    logit = logit + relative_bias[head, (j[0] - p[0]) // apart + k - 1, (j[1] - p[1]) // apart + k - 1]
                logits.append(logit)
            weights = torch.stack(logits).softmax(0)
            values = [projected[j][begin + 2 * share : begin + 2 * share + d] for j in window]
            parts.append(sum(a * v for a, v in zip(weights, values, strict=True)))
        rows[p] = _linear(output[0], torch.cat(parts), groups) + output[1]
    return _image(rows)


def _nearby(place: int, line: list[int], k: int) -> list[int]:
    """Return k consecutive places of a line, centred on the given one if possible."""
    first = min(max(line.index(place) - k // 2, 0), len(line) - k)
    return line[first : first + k]


def non_local(x: Tensor, query, key, value, output, project, **settings: object) -> Tensor:
    return _for_each_image(_non_local, x, query, key, value, output, project, **settings)


def _non_local(x, query, key, value, output, project, *, groups=1, stride=(1, 1)):
    def of(linear, place):
        return _linear(linear[0], _at(x, place), groups) + linear[1]

    rows = {}
    inner = len(query[0]) // groups
    for p in _on_grid(_places(x), stride):
        parts = []
        for group in range(groups):
            share = slice(group * inner, (group + 1) * inner)
            exponentials = [(of(query, p)[share] @ of(key, j)[share]).exp() for j in _places(x)]
            total = sum(exponentials)
            parts.append(sum(e / total * of(value, j)[share] for e, j in zip(exponentials, _places(x), strict=True)))
        own = _at(x, p) if project is None else _linear(project, _at(x, p), groups)
        rows[p] = own + _linear(output[0], torch.cat(parts), groups) + output[1]
    return _image(rows)


def adaptive(x: Tensor, named: dict[str, Tensor], **settings: object) -> Tensor:
    return _for_each_image(_adaptive, x, named, **settings)


def _adaptive(
    x,
    named,
    *,
    k=3,
    edge_type="distance",
    degree_type="features",
    keeping="scaled",
    pooling="mean",
    groups=1,
    stride=(1, 1),
):
    def affine(name, vector):
        return named[f"{name}.weight"] @ vector + named[f"{name}.bias"]

    sides = [min(k, n) for n in x.shape[1:]]
    degree = torch.tensor([float(sides[0] * sides[1])], dtype=x.dtype)
    mean, deviation = degree.item() / 2, degree.item() / 4
    codes = {p: F.leaky_relu(affine("ranker.encode", _at(x, p))) for p in _places(x)}
    rows = {}
    for p in _on_grid(_places(x), stride):
        first = [min(max(i - side // 2, 0), n - side) for i, side, n in zip(p, sides, x.shape[1:], strict=True)]
        window = [(first[0] + i, first[1] + j) for i in range(sides[0]) for j in range(sides[1])]
        scores = {}
        for j in window:
            z, other = codes[p], codes[j]
            if edge_type == "distance":
                scores[j] = torch.ones((), dtype=x.dtype) if j == p else (-0.05 * (z - other).norm()).exp()
            elif edge_type.startswith("pair"):
                near = torch.ones(1, dtype=x.dtype) if j == p else (-(z - other).norm()).exp().view(1)
                one = torch.ones(1, dtype=x.dtype)
                beside = {"pair": [degree, degree], "pair_distance": [degree, degree, near], "pair_weight": [one]}
                hidden = F.leaky_relu(affine("ranker.edge", torch.cat([z, other, *beside[edge_type]])))
                scores[j] = affine("ranker.score", hidden).sigmoid()[0]
            elif edge_type == "edge_conv":
                offset = affine("ranker.offset", other - z) + affine("ranker.own", z)
                scores[j] = affine("ranker.score", offset).sigmoid()[0]
            else:
                scores[j] = F.leaky_relu(affine("ranker.edge", z - other)).sum().sigmoid()
        normalised = (degree - mean) / (deviation + 1e-5)
        if degree_type == "scores":
            wished = F.leaky_relu(affine("degree.total", sum(scores.values()).view(1)))[0]
        else:
            if degree_type == "degree":
                hidden = affine("degree.hidden", normalised)
            else:
                around = [p] if degree_type == "features" else window
                own = sum(F.leaky_relu(affine("degree.encode", _at(x, j))) for j in around) / len(around)
                own = (own @ named["degree.mix"]).relu() if degree_type == "graph" else own
                hidden = F.leaky_relu(affine("degree.hidden", torch.cat([own, normalised])))
            wish = affine("degree.project", affine("degree.mean", hidden))[0]
            wished = (wish * deviation + mean).relu() + 1
        ranked = sorted(window, key=lambda j: -scores[j].item())
        kept = [0.5 - 0.5 * torch.tanh(t - wished) for t in range(len(ranked))]
        weights = [
            {"scaled": scores[j] * h, "alone": h, "added": scores[j] + scores[j] * h}[keeping]
            for h, j in zip(kept, ranked, strict=True)
        ]
        if pooling == "mean":
            m = sum(w * _at(x, j) for w, j in zip(weights, ranked, strict=True)) / sum(weights)
        else:
            m = _most([w * (_at(x, j) - _at(x, p)) for w, j in zip(weights, ranked, strict=True)], x.shape[0])
        own = _linear(named["own.weight"], _at(x, p), groups) + named["own.bias"]
        rows[p] = own + _linear(named["other.weight"], m, groups)
    return _image(rows)
