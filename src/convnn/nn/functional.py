r"""The layers as functions of their weights: select (`Search`), weigh and aggregate."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_choice
from convnn.nn._field import Field, like
from convnn.nn._grid import Grid
from convnn.nn._grouped import grouped_linear
from convnn.nn._search import Search, find_candidates, find_neighbors, under_windows
from convnn.nn._shuffle import Shuffle, pixel_shuffle, pixel_unshuffle
from convnn.ops import Neighbors, aggregate, select, weigh

__all__ = [
    "Grid",
    "Search",
    "branching",
    "conv_new",
    "convnn",
    "convnn_attention",
    "convnn_pos",
    "pixel_shuffle",
    "pixel_unshuffle",
]

AGGREGATION_TYPES = ("Col", "Loc_Col")
PREFERENCES = ("like", "unlike")
SCORES_OF_ITSELF = {"cosine": 1.1, "euclidean": 0.1}
"""Of a position with itself in `convnn_attention` where all are candidates; no other metric is defined there."""


def convnn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    search: Search = Search(),
    grid: Grid = Grid(),
    aggregation_type: str = "Col",
    shuffle_pattern: str = "NA",
    shuffle_scale: int = 0,
    training: bool = False,
    backend: str = "auto",
) -> Tensor:
    r"""Convolve the K most similar positions of the whole map, for maps of any number of axes.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k=1}^{K} W_{ock} \, v_{j_{ik} c}

    where :math:`j_{i1}, \dots, j_{iK}` are the neighbours of position i, best first, and v the features there.

    Args:
        x: (B, C, *S).
        weight: (C_out, C' / groups, K); C' counts the coordinate channels and the unshuffled ones.
        bias: (C_out,) or None.
        search: search for the neighbours.
        grid: positions that choose, and the padding of the map.
        aggregation_type: "Col" convolves features, "Loc_Col" features and coordinates.
        shuffle_pattern: "B" unshuffles pixels before, "A" shuffles them after the layer, "BA" both, "NA" none.
        shuffle_scale: factor of the shuffle along each axis; at least 1 if there is a pattern.
        training: draw new random candidates in every call; otherwise the draw is fixed.
        backend: implementation: "auto" (the fastest available), "cpu", "triton" or "reference".

    Returns:
        (B, C_out, *S'), S' the positions that choose; shuffled by pattern.

    Raises:
        InputError: K exceeds the candidates, the shuffle does not divide the map, the weight does not fit.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        arXiv 2511.14137.
    """
    shuffle = Shuffle(shuffle_pattern, shuffle_scale)
    field = Field.of(shuffle.before(x), grid)
    neighbors = find_neighbors(field, search, training=training, backend=backend)
    values = aggregated_values(field, aggregation_type)
    groups = values.shape[-1] // weight.shape[1]
    out = aggregate.convolve(values, neighbors, weight, bias, groups=groups, backend=backend)
    return like(x, shuffle.after(field.to_map(out)))


def convnn_attention(
    x: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    value_weight: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    pointwise_weight: Tensor,
    pointwise_bias: Tensor | None,
    output_weight: Tensor,
    *,
    search: Search = Search(),
    grid: Grid = Grid(),
    aggregation_type: str = "Col",
    attention_dropout: float = 0.0,
    shuffle_pattern: str = "NA",
    shuffle_scale: int = 0,
    training: bool = False,
    backend: str = "auto",
) -> Tensor:
    r"""Attend to the K most similar positions, with a learned kernel over them.

    .. math:: y_i = W_o \left( W_p \sum_{k=1}^{K} w_k \odot \alpha_{ik} W_v x_{j_{ik}} \right), \qquad
        \alpha_i = \operatorname{softmax}_k s(W_k x_i, W_q x_{j_{ik}})

    with s the cosine or minus the squared distance; the position itself comes first with a constant score
    (1.1 and 0.1 if all positions are candidates, 1 if candidates are sampled).

    Args:
        x: (B, C, *S).
        query_weight, key_weight, value_weight: (C', C' / groups); C' counts coordinate and unshuffled channels.
        weight: (C', 1, K) depthwise kernel over the neighbours, with `bias` (C',) or None.
        bias: (C',) or None.
        pointwise_weight: (C_out, C' / groups), with `pointwise_bias` (C_out,) or None.
        pointwise_bias: (C_out,) or None.
        output_weight: (C_out, C_out / groups).
        search: search for the neighbours; it compares the projections, and ignores similarity_type.
        grid: as in `convnn`.
        aggregation_type: "Col" projects features, "Loc_Col" features and coordinates.
        attention_dropout: probability of dropping a neighbour in training.
        shuffle_pattern, shuffle_scale: as in `convnn`.
        training: draw new candidates in every call, and apply dropout.
        backend: as in `convnn`.

    Returns:
        (B, C_out, *S'), as `convnn`.

    Raises:
        InputError: as `convnn`; the metric is "matmul".

    Reference:
        arXiv 2511.14137, the attention form; the softmax is over the neighbours, and closer ones weigh more.
    """
    shuffle = Shuffle(shuffle_pattern, shuffle_scale)
    field = Field.of(shuffle.before(x), grid)
    extended = aggregated_values(field, aggregation_type)
    neighbors = attend(field, extended, query_weight, key_weight, search, training=training, backend=backend)
    neighbors = weigh.dropout(neighbors, attention_dropout, training=training)
    values = _project(field, extended, value_weight)
    out = aggregate.convolve(values, neighbors, weight, bias, groups=values.shape[-1], backend=backend)
    out = _linear_twice(out, pointwise_weight, pointwise_bias, output_weight)
    return like(x, shuffle.after(field.to_map(out)))


def attend(
    field: Field,
    extended: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    search: Search,
    *,
    training: bool,
    backend: str = "auto",
) -> Neighbors:
    """Return the K positions nearest in projection to each one that chooses, itself first, with softmax weights."""
    check_choice("metric", search.metric, SCORES_OF_ITSELF)
    # Published: row t scores candidate j by s(k_t, q_j), so the keys are the queries of the search.
    queries = grouped_linear(field.at_queries(extended), key_weight)
    keys = _project(field, extended, query_weight)
    candidates = find_candidates(field, search, training=training)
    metric = search.metric
    positions = field.queries()
    neighbors = search.nearest(queries, keys, positions=positions, candidates=candidates, backend=backend)
    neighbors = weigh.similarity(neighbors, queries, keys, metric=metric, backend=backend)
    score_of_itself = SCORES_OF_ITSELF[metric] if candidates is None else 1.0
    return weigh.softmax(weigh.first_slot(neighbors, score_of_itself))


def _project(field: Field, extended: Tensor, weight: Tensor) -> Tensor:
    """Project all positions, (B, T, C'); padding without coordinates stays zero, and is skipped."""
    if extended is field.features and field.is_zero_padded:
        return field.padded(grouped_linear(field.at_real(extended), weight))
    return grouped_linear(extended, weight)


def _linear_twice(x: Tensor, first: Tensor, bias: Tensor | None, second: Tensor) -> Tensor:
    """Compute W_2 (W_1 x + b) in the cheaper order: W_2 W_1 first, if rows outnumber channels, without groups."""
    rows: int | torch.SymInt = prod(x.shape[:-1])
    are_few = isinstance(rows, int) and rows <= first.shape[1]  # not an int: torch.export may leave the batch size open
    if are_few or second.shape[0] != second.shape[1]:
        return grouped_linear(grouped_linear(x, first, bias), second)
    return F.linear(x, second @ first, None if bias is None else second @ bias)


def conv_new(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    grid: Grid | None = None,
    aggregation_type: str = "Col",
    shuffle_pattern: str = "NA",
    shuffle_scale: int = 0,
) -> Tensor:
    """Convolve a map, optionally with coordinates and on shuffled pixels, for one to three axes.

    Args:
        x: (B, C, *S).
        weight: (C_out, C' / groups, *kernel); C' counts coordinate and unshuffled channels.
        bias: (C_out,) or None.
        grid: stride, padding and dilation; None keeps the size of the map.
        aggregation_type: "Col" convolves features, "Loc_Col" features and coordinates.
        shuffle_pattern, shuffle_scale: as in `convnn`.

    Returns:
        (B, C_out, *S'), S' by kernel and grid; shuffled by pattern.

    Raises:
        InputError: the aggregation type is unknown, the shuffle does not divide the map or the kernel does not fit in
            it.

    Reference:
        arXiv 2511.14137, `Conv2d_New` of the published code.
    """
    shuffle = Shuffle(shuffle_pattern, shuffle_scale)
    values = _with_coordinates(shuffle.before(x), aggregation_type)
    grid = _of_kernel(grid, weight)
    grid.check(values.shape[2:], "kernel_size")
    is_plain = grid.padding_mode == "zeros" and (grid.padding != "same" or grid.stride == 1)
    padding = grid.padding if is_plain else 0
    values = values if is_plain else grid.pad(values)
    groups = values.shape[1] // weight.shape[1]
    out = _convolution(x)(values, weight, bias, grid.stride, padding, grid.dilation, groups)
    return like(x, shuffle.after(out))


def _convolution(x: Tensor) -> Callable[..., Tensor]:
    """Return torch's convolution for maps of as many axes as x (B, C, *S), one to three."""
    return (F.conv1d, F.conv2d, F.conv3d)[x.dim() - 3]


def convnn_pos(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reach: int = 1,
    choosing: float = 0.5,
    prefer: str = "like",
    metric: str = "matmul",
    grid: Grid | None = None,
    aggregation_type: str = "Col",
    shuffle_pattern: str = "NA",
    shuffle_scale: int = 0,
    backend: str = "auto",
) -> Tensor:
    r"""Convolve; for some channels, outer slots take the most (or least) similar position in their direction.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k} W_{ock} \, v_{j_{ik} c}, \qquad
        j_{ik} = \operatorname*{arg\,max}_{j \in S_k(i)} \pm s(x_i, x_j)

    with the sets :math:`S_k(i)` of `convnn.ops.select.sectors`, without zeros in the padding if others remain.

    Args:
        x: (B, C, *S).
        weight: (C_out, C' / groups, *kernel); C' counts coordinate and unshuffled channels.
        bias: (C_out,) or None.
        reach: how far beyond the kernel's window the outer slots search, at least 0.
        choosing: share of the output channels whose slots choose, 0 to 1: the last ones of every group; the slots of
            the others take their own places.
        prefer: "like" or "unlike".
        metric: "cosine", "euclidean" or "matmul", the inner product.
        grid: stride, padding and dilation of the kernel's window; None keeps the size of the map.
        aggregation_type: "Col" convolves features, "Loc_Col" features and coordinates.
        shuffle_pattern, shuffle_scale: as in `convnn`.
        backend: as in `convnn`.

    Returns:
        (B, C_out, *S'), S' by kernel and grid; shuffled by pattern.

    Raises:
        InputError: an argument is unknown or out of range, the shuffle does not divide the map, or the kernel does not
            fit in it.
        UnsupportedError: the named backend cannot compute this.
    """
    shuffle = Shuffle(shuffle_pattern, shuffle_scale)
    grid = _of_kernel(grid, weight)
    wide = grid.widened(weight.shape[2:], reach)
    shuffled = shuffle.before(x)
    grid.axes(shuffled.shape[2:], "kernel_size")  # refuses a map that is too small
    values = _with_coordinates(shuffled, aggregation_type)
    groups = values.shape[1] // weight.shape[1]

    def choose(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        field = Field.of(shuffled, wide)
        neighbors = one_in_each_direction(field, weight.shape[2:], reach, prefer, metric, backend=backend)
        rows = field.features if values is shuffled else Field.of(values, wide).features
        out = aggregate.convolve(rows, neighbors, weight.flatten(2), bias, groups=groups, backend=backend)
        return field.to_map(out)

    def look(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return conv_new(values, weight, bias, grid=grid)

    outputs = weight.shape[0] // groups
    first = outputs - (ceil(choosing * outputs) if reach else 0)
    out = _side_by_side([(look, first), (choose, outputs - first)], values, weight, bias, groups)
    return like(x, shuffle.after(out))


def _of_kernel(grid: Grid | None, weight: Tensor) -> Grid:
    """Return the windows of a kernel (C_out, C, *kernel); without a grid the map keeps its size."""
    kernel_size = tuple(weight.shape[2:])
    return Grid(kernel_size, padding="same") if grid is None else replace(grid, window_size=kernel_size)


def _side_by_side(
    parts: Sequence[tuple[Callable[[Tensor, Tensor, Tensor | None], Tensor], int]],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
) -> Tensor:
    """Apply layers to their shares of the weights, each making some channels of every group; (B, C_out, *S')."""
    sizes = [count for _, count in parts]
    weights = weight.unflatten(0, (groups, -1)).split(sizes, dim=1)
    biases = [None] * len(parts) if bias is None else bias.unflatten(0, (groups, -1)).split(sizes, dim=1)
    maps = [
        layer(x, w.flatten(0, 1), None if b is None else b.flatten()).unflatten(1, (groups, count))
        for (layer, count), w, b in zip(parts, weights, biases, strict=True)
        if count
    ]
    return torch.cat(maps, dim=2).flatten(1, 2)


def one_in_each_direction(
    field: Field, kernel_size: Sequence[int], reach: int, prefer: str, metric: str, *, backend: str = "auto"
) -> Neighbors:
    """Return a neighbour for each slot of a kernel at every position that chooses; the field has the wider windows."""
    check_choice("prefer", prefer, PREFERENCES)
    device = field.features.device
    windows = under_windows(field)
    choices = windows.squeeze(0)[:, select.sectors(kernel_size, reach, device=device)]
    if field.is_zero_padded:  # zeros would always be the most unlike
        is_real = field.is_real()[choices]
        first_real = choices.gather(-1, is_real.int().argmax(-1, keepdim=True))
        choices = torch.where(is_real, choices, first_real)
    queries = field.at_queries(field.features)
    return select.one_of_each(
        queries, field.features, choices, metric=metric, unlike=prefer == "unlike", backend=backend
    )


def branching(
    x: Tensor,
    branches: Sequence[Callable[[Tensor], Tensor]],
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    widths: Sequence[int] | None = None,
) -> Tensor:
    """Apply layers in parallel and mix their outputs by a 1x1 convolution.

    Args:
        x: (B, C, *S).
        branches: functions of x to (B, C_i, *S').
        weight: (C_out, sum of C_i), the 1x1 convolution.
        bias: (C_out,) or None.
        widths: numbers of consecutive channels that the branches read; None: every branch reads all channels.

    Returns:
        (B, C_out, *S').

    Raises:
        InputError: the branches make maps of different sizes.

    Reference:
        arXiv 2511.14137, the branching layer.
    """
    parts = [x] * len(branches) if widths is None else x.split(list(widths), dim=1)
    maps = [branch(part) for branch, part in zip(branches, parts, strict=True)]
    if any(y.shape[2:] != maps[0].shape[2:] for y in maps):
        sizes = sorted(tuple(y.shape[2:]) for y in maps)
        raise InputError(f"branches make maps of different sizes {sizes}; they must agree")
    kernel = weight.view(*weight.shape, *[1] * (x.dim() - 2))
    return like(x, _convolution(x)(torch.cat(maps, dim=1), kernel, bias))


def aggregated_values(field: Field, aggregation_type: str) -> Tensor:
    """Return the values of neighbours, (B, T, C'): features, with coordinates for the aggregation "Loc_Col"."""
    check_choice("aggregation_type", aggregation_type, AGGREGATION_TYPES)
    return field.with_coordinates() if aggregation_type == "Loc_Col" else field.features


def _with_coordinates(x: Tensor, aggregation_type: str) -> Tensor:
    """Return the map (B, C', *S) that the aggregation convolves, before its padding."""
    check_choice("aggregation_type", aggregation_type, AGGREGATION_TYPES)
    if aggregation_type == "Col":
        return x
    field = Field.of(x, Grid(padding=0))
    return field.to_map(aggregated_values(field, aggregation_type))
