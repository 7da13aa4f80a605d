"""Recommendation by a constraint that stands for infinitely many layers of propagation (UltraGCN)."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative
from convnn.ops import select
from convnn.ops.ragged import check_edges

BLOCK = 1 << 24
"""Entries of the items' graph that are computed at once."""


class InfiniteLayers(NamedTuple):
    """What the interactions say about the limit of propagation.

    Attributes:
        user_factors: (U,) float64, sqrt(d + 1) / d by the degree; infinite without interactions.
        item_factors: (I,) float64, 1 / sqrt(d + 1).
        neighbors: (I, K) int64, the items most like each item, best first; -1 where there are fewer.
        weights: (I, K) float64, omega of each; 0 where there are fewer.
    """

    user_factors: Tensor
    item_factors: Tensor
    neighbors: Tensor
    weights: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "InfiniteLayers":
        """Return the same on a device, with numbers of this type."""
        users, items, weights = (part.to(device, dtype) for part in (self[0], self[1], self[3]))
        return InfiniteLayers(users, items, self.neighbors.to(device), weights)


def infinite_layers(
    edge_index: Tensor, num_users: int, num_items: int, num_neighbors: int = 10, *, zero_diagonal: bool = False
) -> InfiniteLayers:
    r"""Return the constants of UltraGCN, computed once from the interactions R.

    .. math:: \beta_{ui} = \frac{\sqrt{d_u + 1}}{d_u \sqrt{d_i + 1}}, \quad G = R^\top R, \quad g_i = \sum_j G_{ij},
        \quad \omega_{ij} = \frac{G_{ij} \sqrt{g_i + 1}}{g_i \sqrt{g_j + 1}}

    With infinitely many layers of GCN with loops, a user's vector is the sum of :math:`\beta_{ui}` times those of its
    items. Neighbours of an item are those of the largest :math:`\omega`, as the published code has it, of which the
    formulas of the paper differ.

    Args:
        edge_index: (2, E) int64, the user and the item of each interaction; equal ones count once.
        num_users: number of users, U.
        num_items: number of items, I.
        num_neighbors: K, 1 to I.
        zero_diagonal: an item is not like itself; otherwise it is normally its first neighbour.

    Raises:
        InputError: there is no interaction, a user or item does not exist, or num_neighbors is out of range.

    Reference:
        Mao et al., "UltraGCN: Ultra Simplification of Graph Convolutional Networks for Recommendation",
        arXiv 2110.15114.
    """
    from scipy import sparse

    check_edges(edge_index, num_users, num_items, ends=("users", "items"))
    if not edge_index.shape[1]:
        raise InputError("edge_index of shape (2, 0) must have at least one interaction")
    if not 1 <= num_neighbors <= num_items:
        raise InputError(f"num_neighbors={num_neighbors} must lie between 1 and {num_items}, the number of items")
    rows, columns = edge_index.unique(dim=1).cpu().numpy()
    chosen = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(num_users, num_items))
    of_users, of_items = (torch.from_numpy(chosen.sum(axis)) for axis in (1, 0))
    sums = torch.from_numpy(chosen.T @ chosen.sum(1)) - of_items * zero_diagonal
    by_item, size = chosen.T.tocsr(), max(1, BLOCK // num_items)
    neighbors, weights = [], []
    for start in range(0, num_items, size):
        together = torch.from_numpy((by_item[start : start + size] @ chosen).toarray())
        if zero_diagonal:
            together.diagonal(start).zero_()
        of_rows = sums[start : start + size, None]
        omega = (together * (of_rows + 1).sqrt() / of_rows.clamp_min(1)) / (sums + 1).sqrt()
        nearest = select.highest(omega, num_neighbors)
        neighbors.append(nearest)
        weights.append(omega.gather(1, nearest))
    omegas = torch.cat(weights)
    return InfiniteLayers(
        (of_users + 1).sqrt() / of_users, 1 / (of_items + 1).sqrt(), torch.cat(neighbors).where(omegas > 0, -1), omegas
    )


class UltraTerms(NamedTuple):
    """The parts of `ultra_loss`, each a sum over the batch: of choices, and of similar items."""

    choices: Tensor
    similar: Tensor


def ultra_loss(
    embeddings: tuple[Tensor, Tensor],
    constants: InfiniteLayers,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    weights: tuple[float, float, float, float] = (1e-6, 1.0, 1e-6, 1.0),
    negative_weight: float = 300.0,
) -> UltraTerms:
    r"""Return the parts of the loss of UltraGCN, in which nothing is propagated.

    .. math:: \sum_b w^+_b \log(1 + e^{-s_{u p}}) + \frac{\nu}{M} \sum_m w^-_{bm} \log(1 + e^{s_{u n_m}}), \quad
        \sum_b \sum_{j \in N(p_b)} \omega_{p_b j} \log(1 + e^{-s_{u j}})

    for scores :math:`s` that are inner products, with :math:`w^+ = w_1 + w_2 \beta_{up}` and
    :math:`w^- = w_3 + w_4 \beta_{un}`. The published loss is the first, plus lambda times the second, plus gamma / 2
    times the squares of all embeddings, in every step.

    Args:
        embeddings: those of users (U, dim) and of items (I, dim).
        constants: of `infinite_layers`.
        users: (B,) int64; each has an interaction.
        positives: (B,) int64, an item that each chose.
        negatives: (B, M) int64, other items.
        weights: w_1 to w_4, at least 0.
        negative_weight: nu, at least 0.

    Raises:
        InputError: a shape or number is out of range, or a user has no interaction.

    Reference:
        Mao et al., arXiv 2110.15114.
    """
    _check_batch(users, positives, negatives)
    check_not_negative("negative_weight", negative_weight)
    _check_ids(embeddings, users, positives, negatives)
    of_users, of_items = embeddings
    chosen, others = pair_weights(constants, users, positives, negatives, weights)
    rows = of_users[users]
    up = (rows * of_items[positives]).sum(1)
    down = torch.einsum("bc,bmc->bm", rows, of_items[negatives])
    choices = (chosen * F.softplus(-up)).sum() + negative_weight * (others * F.softplus(down)).mean(1).sum()
    near = constants.neighbors[positives]
    alike = torch.einsum("bc,bkc->bk", rows, of_items[near.clamp_min(0)])
    return UltraTerms(choices, (constants.weights[positives] * F.softplus(-alike)).sum())


def pair_weights(
    constants: InfiniteLayers,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weights: tuple[float, float, float, float],
) -> tuple[Tensor, Tensor]:
    """Return w^+ (B,) and w^- (B, M) of `ultra_loss`.

    Raises:
        InputError: a weight is negative, or a user has no interaction.
    """
    for number, weight in enumerate(weights, 1):
        check_not_negative(f"w{number}", weight)
    of_users = constants.user_factors[users]
    if bool(of_users.isinf().any()):
        raise InputError(f"users has {int(users[of_users.isinf()][0])}, who has no interaction")
    first, second, third, fourth = weights
    chosen = first + second * of_users * constants.item_factors[positives]
    return chosen, third + fourth * of_users[:, None] * constants.item_factors[negatives]


def _check_batch(users: Tensor, positives: Tensor, negatives: Tensor) -> None:
    check_at_least("number of users", users.numel(), 1)
    batch = users.shape[0]
    if users.dim() != 1 or positives.shape != users.shape:
        raise InputError(
            f"users of shape {tuple(users.shape)} and positives of shape {tuple(positives.shape)} must both be (B,)"
        )
    if negatives.dim() != 2 or negatives.shape[0] != batch or not negatives.shape[1]:
        raise InputError(f"negatives of shape {tuple(negatives.shape)} must be ({batch}, M) with M of at least 1")


def _check_ids(embeddings: tuple[Tensor, Tensor], users: Tensor, *items: Tensor) -> None:
    of_users, of_items = embeddings
    named = zip(("users", "positives", "negatives"), (users, *items), (of_users, of_items, of_items), strict=True)
    for name, ids, table in named:
        if ids.dtype != torch.long or int(ids.min()) < 0 or int(ids.max()) >= table.shape[0]:
            raise InputError(f"{name} must be int64 between 0 and {table.shape[0] - 1}, not {ids.tolist()[:3]}")
