"""The graph of the patches of an image, along which tokens that leave pass on their features."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_choice
from convnn.ops import Neighbors, select

TOKEN_GRAPHS = ("spatial", "semantic", "mixed")


def token_graph(x: Tensor, size: tuple[int, int], graph: str = "mixed", K: int = 8) -> Neighbors:
    r"""Return the neighbours of each patch, on the map or by its features, without itself.

    .. math:: W_{ij} = \frac{1}{\sqrt{d_i d_j}}

    where j is a neighbour of i, and :math:`d_i` is the number of neighbours of i.

    Args:
        x: (B, n, D) tokens of the patches, row by row.
        size: rows and columns of the patches.
        graph: "spatial": the up to 8 patches around each; "semantic": the K with the highest cosine, which need not be
            mutual; "mixed": both.
        K: number of neighbours by features, 1 to n - 1.

    Returns:
        Neighbors (B, n, 8), (B, n, K) or (B, n, 8 + K), with the weights, and absent where there is none or a second.

    Raises:
        InputError: the graph is unknown, K is out of range, or the size is not that of the patches.

    Reference:
        Xu et al., "GTP-ViT: Efficient Vision Transformers via Graph-based Token Propagation", arXiv 2311.03035.
    """
    check_choice("graph", graph, TOKEN_GRAPHS)
    batch, length = x.shape[:2]
    if size[0] * size[1] != length:
        raise InputError(f"size={size} must be the rows and columns of the {length} patches")
    around = surroundings(size, x.device).for_each_of(batch)
    if graph == "spatial":
        return _normalised(around)
    if not 1 <= K < length:
        raise InputError(f"K={K} must lie between 1 and {length - 1}, the number of other patches")
    itself = torch.arange(length, device=x.device)
    alike = select.nearest(x, x, K + 1, metric="cosine", positions=itself).indices[..., 1:]
    if graph == "semantic":
        return _normalised(Neighbors(alike, absent=torch.zeros_like(alike, dtype=torch.bool)))
    row, column = itself // size[1], itself % size[1]
    is_around = ((row[alike] - row[:, None]).abs() <= 1) & ((column[alike] - column[:, None]).abs() <= 1)
    assert around.absent is not None
    parts = (around.indices, alike), (around.absent, is_around)
    indices, absent = (torch.cat(part, dim=-1) for part in parts)
    return _normalised(Neighbors(indices, absent=absent))


def surroundings(size: tuple[int, int], device: torch.device | None = None) -> Neighbors:
    """Return the 8 patches around each of a map of this size, (1, n, 8); absent beyond the border."""
    rows, columns = size
    place = torch.arange(rows * columns, device=device)[:, None]
    step = torch.tensor([i for i in range(9) if i != 4], device=device)
    row, column = place // columns + step // 3 - 1, place % columns + step % 3 - 1
    absent = (row < 0) | (row >= rows) | (column < 0) | (column >= columns)
    return Neighbors(torch.where(absent, place, row * columns + column)[None], absent=absent[None])


def among(rows: Neighbors, kept: Tensor, length: int) -> Neighbors:
    """Return the neighbours of those that stay, `rows_of` them, without those of the n tokens that leave.

    Tokens have their new numbers, the places in kept (B, k), and weights are as before.
    """
    rank = _ranks(kept, length)
    assert rows.absent is not None
    indices = rank.gather(1, rows.indices.flatten(1)).view_as(rows.indices)
    absent = rows.absent | (indices < 0)
    itself = torch.arange(kept.shape[1], device=kept.device)[:, None]
    return Neighbors(torch.where(absent, itself, indices), rows.scores, absent)


def rows_of(graph: Neighbors, kept: Tensor) -> Neighbors:
    """Return the neighbours of some of the tokens, (B, k)."""
    index = kept.unsqueeze(-1).expand(-1, -1, graph.K)
    return graph._map(lambda tensor: tensor.gather(1, index))


def shares(rows: Neighbors, leaving: Tensor, length: int) -> Tensor:
    """Return the weights (B, k, l) of those of the n tokens that leave, (B, l), for those that stay, `rows_of` them.

    A matrix, because few leave in a block: it is smaller than copies of all neighbours.
    """
    rank, count = _ranks(leaving, length), leaving.shape[1]
    assert rows.absent is not None
    assert rows.scores is not None
    column = rank.gather(1, rows.indices.flatten(1)).view_as(rows.indices)
    column = torch.where((column < 0) | rows.absent, count, column)  # one more, for neighbours that do not leave
    matrix = rows.scores.new_zeros(*column.shape[:2], count + 1)
    return matrix.scatter(2, column, rows.scores)[..., :count]


def propagate(x: Tensor, graph: Neighbors, kept: Tensor, alpha: float) -> Tensor:
    r"""Return the tokens that stay, with what those that leave pass on to them.

    .. math:: x_k + \alpha \sum_{p \text{ leaves}} W_{kp} x_p

    Args:
        x: (B, n, D).
        graph: neighbours (B, n, K) with weights and absent slots, as from `token_graph`.
        kept: (B, k) int64, the tokens that stay, in their new order.
        alpha: share that is passed on.

    Returns:
        (B, k, D)
    """
    length = x.shape[1]
    leaving = _ranks(kept, length).argsort(dim=1, stable=True)[:, : length - kept.shape[1]]
    return passed_on(x, kept, leaving, alpha * shares(rows_of(graph, kept), leaving, length))


def passed_on(x: Tensor, kept: Tensor, leaving: Tensor, weights: Tensor) -> Tensor:
    """Return the tokens of x (B, n, D) that stay, with those that leave added by weights (B, k, l)."""
    return torch.baddbmm(tokens_at(x, kept), weights.to(x.dtype), tokens_at(x, leaving))


def tokens_at(x: Tensor, places: Tensor) -> Tensor:
    """Return the tokens of x (B, n, D) at some places (B, k), (B, k, D)."""
    return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def _ranks(kept: Tensor, length: int) -> Tensor:
    """Return the new place of each of n tokens, (B, n), -1 for those that leave."""
    new = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
    return kept.new_full((kept.shape[0], length), -1).scatter(1, kept, new)


def _normalised(graph: Neighbors) -> Neighbors:
    """Weigh each neighbour by the degrees of both ends."""
    assert graph.absent is not None
    degrees = (~graph.absent).sum(-1)
    of_neighbors = degrees.gather(1, graph.indices.flatten(1)).view_as(graph.indices)
    product = (degrees.unsqueeze(-1) * of_neighbors).clamp_min(1)  # a lone patch has no neighbours
    return graph._replace(scores=product.double().rsqrt())
