"""The best items for users by a search among their vectors, and figures of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.models import Recommender
from convnn.nn._modes import evaluating
from convnn.objectives import ranking
from convnn.ops import select
from convnn.ops.edges import edge_rows
from convnn.ops.ragged import check_edges

CHUNK = 1 << 24
"""Scores that are held at once."""


def hit_rate(ranked: Tensor, relevant: Tensor) -> float:
    """Return the share of users with at least one relevant item among the ranked; see `ranking.recall`."""
    return (ranking.recalls(ranked, relevant) > 0).double().mean().item()


FIGURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "recall": ranking.recall,
    "precision": ranking.precision,
    "ndcg": ranking.ndcg,
    "hits": hit_rate,
}
"""Figures of ranked items (B, k) against the relevant ones, bool (B, I), as means over users."""


class Ranker:
    """Vectors of users and items, whose inner products rank the items that a user does not have yet.

    Args:
        users: (U, C) vectors of users.
        items: (I, C) vectors of items.
        known: (2, E) int64, the user and the item of each interaction that is not suggested again.

    Raises:
        InputError: the vectors have other widths, or a user or item does not exist.

    Example:
        >>> ranker = Ranker(torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0], [0]]))
        >>> ranker.suggest(torch.tensor([0, 1]), 2).tolist()  # user 0 has item 0 already
        [[1, 2], [2, 0]]
    """

    def __init__(self, users: Tensor, items: Tensor, known: Tensor) -> None:
        if users.dim() != 2 or items.dim() != 2 or users.shape[1] != items.shape[1]:
            raise InputError(
                f"users of shape {tuple(users.shape)} and items of shape {tuple(items.shape)} must be (U, C) and (I, C)"
            )
        check_edges(known, users.shape[0], items.shape[0], name="known", ends=("users", "items"))
        self.users, self.items = users.detach(), items.detach()
        self._keys = (known[0] * items.shape[0] + known[1]).unique()
        self._counts = torch.bincount(self._keys // items.shape[0], minlength=users.shape[0])

    @classmethod
    def of(cls, network: Recommender, edge_index: Tensor) -> "Ranker":
        """Return that of a trained network and the interactions (2, E) it was trained on."""
        with torch.no_grad(), evaluating(network):
            users, items = network.encoder(edge_index)
        return cls(users, items, edge_index)

    def suggest(self, users: Tensor, k: int, *, recall: float | None = None) -> Tensor:
        """Return the k items (B, k) with the highest scores that each user does not have, best first.

        Of equal scores the lowest item comes first. Where a user has too many for k others, -1 follows.

        Args:
            users: (B,) int64.
            k: number of items.
            recall: share of the best items that a clustered search should find, which compares a user with the items in
                a few lists alone; None compares it with all. See `convnn.ops.select.nearest`.

        Raises:
            InputError: a user does not exist, or k or recall is out of range.
        """
        everybody, items = self.users.shape[0], self.items.shape[0]
        if users.dim() != 1 or users.dtype != torch.long:
            raise InputError(f"users of shape {tuple(users.shape)} and {users.dtype} must be one list of int64")
        if users.numel() and not 0 <= int(users.min()) <= int(users.max()) < everybody:
            raise InputError(f"users from {users.min()} to {users.max()} must lie between 0 and {everybody - 1}")
        check_at_least("k", k, 1)
        if k > items:
            raise InputError(f"k={k} must be at most {items}, the number of items")
        found = users.new_full((len(users), k), -1)
        for places in self._chunks(users, recall):
            found[places] = self._best(users[places], k, recall)
        return found

    def evaluate(self, held_out: Tensor, at: Sequence[int] = (20,)) -> dict[str, float]:
        """Return `FIGURES` of the first items of all users with held-out ones, by names such as "recall@20".

        Args:
            held_out: (2, E) int64, the user and the item of each interaction that was not learned.
            at: how many items are shown.

        Raises:
            InputError: there is no interaction, a user or item does not exist, or a number is out of range.
        """
        sizes = self.users.shape[0], self.items.shape[0]
        check_edges(held_out, *sizes, name="held_out", ends=("users", "items"))
        if not at:
            raise InputError("at=() must have a number of items")
        users, sums = held_out[0].unique(), dict.fromkeys((f"{name}@{k}" for k in at for name in FIGURES), 0.0)
        if not len(users):
            raise InputError("held_out of shape (2, 0) must have at least one interaction")
        ranked = self.suggest(users, max(at))
        for rows in torch.arange(len(users)).split(max(1, CHUNK // sizes[1])):
            relevant = torch.nn.functional.pad(edge_rows(held_out, users[rows], sizes), (0, 1))  # none where -1 stands
            best = ranked[rows].where(ranked[rows] >= 0, sizes[1])
            for k in at:
                for name, figure in FIGURES.items():
                    sums[f"{name}@{k}"] += len(rows) * figure(best[:, :k], relevant)
        return {name: value / len(users) for name, value in sums.items()}

    def _chunks(self, users: Tensor, recall: float | None) -> Iterator[Tensor]:
        """Yield places of users, those of equally many known items together; lists are built once for all."""
        order = self._counts[users].argsort(stable=True)
        size = len(users) if recall is not None else max(1, CHUNK // self.items.shape[0])
        yield from (part for part in order.split(max(1, size)) if len(part))

    def _best(self, users: Tensor, k: int, recall: float | None) -> Tensor:
        """Return the best items (B, k) of users: of as many more as the most that one of them has."""
        items = self.items.shape[0]
        most = min(items, k + int(self._counts[users].max()))
        method = "exact" if recall is None else "clustered"
        vectors = self.users[users][None], self.items[None]
        found = select.nearest(*vectors, most, metric="matmul", method=method, recall=recall).indices[0]
        pairs = users[:, None] * items + found
        place = torch.searchsorted(self._keys, pairs).clamp_max(max(len(self._keys) - 1, 0))
        is_known = self._keys[place] == pairs if len(self._keys) else torch.zeros_like(pairs, dtype=torch.bool)
        order = is_known.int().argsort(dim=1, stable=True)[:, :k]
        return found.gather(1, order).where(~is_known.gather(1, order), -1)


def named(found: Tensor, items: Sequence[str]) -> list[list[str]]:
    """Return the names of suggested items (B, k) for each user, without the -1 at the end."""
    return [[items[item] for item in row if item >= 0] for row in found.tolist()]


def numbers_of(names: Sequence[str], users: Sequence[str]) -> Tensor:
    """Return the numbers (B,) of users by their names.

    Raises:
        InputError: there is no such user.
    """
    places: Mapping[str, int] = {name: number for number, name in enumerate(users)}
    for name in names:
        if name not in places:
            raise InputError(f"user {name!r} is not one of the {len(users):,} of the data, such as {users[0]!r}")
    return torch.tensor([places[name] for name in names], dtype=torch.long)
