"""Learning to rank items for users from what they chose: the loss, its samples, and figures of a ranking."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative
from convnn.ops.edges import edge_rows
from convnn.ops.ragged import check_edges


def bpr_loss(positives: Tensor, negatives: Tensor, embeddings: Sequence[Tensor] = (), *, decay: float = 1e-4) -> Tensor:
    r"""Return the loss of Bayesian personalised ranking: what a user chose should score above what it did not choose.

    .. math:: \frac{1}{B} \sum_b \log(1 + e^{n_b - p_b}) + \frac{\lambda}{2 B} \sum_b \sum_e \lVert e_b \rVert^2

    Args:
        positives: (B,) scores p of an item that each user chose.
        negatives: (B,) scores n of an item that it did not choose.
        embeddings: e, each (B, dim), such as those of the users and of both items before propagation; one that occurs
            several times in the batch counts as often.
        decay: lambda, at least 0; it corresponds to twice `lambda_reg` of `torch_geometric.nn.LightGCN`.

    Raises:
        InputError: shapes do not agree, or decay is negative.

    Reference:
        Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", arXiv 1205.2618; with the decay as
        in the published code of LightGCN, arXiv 2002.02126.
    """
    if positives.dim() != 1 or positives.shape != negatives.shape:
        raise InputError(
            f"positives of shape {tuple(positives.shape)} and negatives of shape {tuple(negatives.shape)} must both be"
            " (B,)"
        )
    check_not_negative("decay", decay)
    penalty = sum((rows.square().sum() for rows in embeddings), start=positives.new_zeros(()))
    return F.softplus(negatives - positives).mean() + decay / (2 * positives.shape[0]) * penalty


def sample_triples(
    interactions: Tensor, num_users: int, num_items: int, number: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw users, an item that each of them chose, and one that it did not choose.

    Users are drawn uniformly; those without items are left out, so that fewer triples may come. An item that a user
    chose several times is drawn as much more often.

    Args:
        interactions: (2, E) int64, the user and the item of each interaction.
        num_users: number of users.
        num_items: number of items.
        number: how many users are drawn; an epoch is E.
        generator: source of the random numbers, on the device of the interactions; None is that of torch.

    Returns:
        Users, chosen items and other items, each (B,) int64 with B at most `number`.

    Raises:
        InputError: there is no interaction, a user or item does not exist, or a user has all items.
    """
    check_at_least("number", number, 1)
    others = OtherItems(interactions, num_users, num_items)
    pairs = _numbered(interactions, num_items)
    if not pairs.numel():
        raise InputError("interactions of shape (2, 0) must have at least one")
    others.check(torch.arange(num_users, device=pairs.device))
    ordered = pairs.sort().values
    degrees = torch.bincount(pairs // num_items, minlength=num_users)
    users = torch.randint(num_users, (number,), generator=generator, device=pairs.device)
    users = users[degrees[users] > 0]
    share = torch.rand(users.shape[0], generator=generator, device=pairs.device, dtype=torch.double)
    place = (degrees.cumsum(0) - degrees)[users] + (share * degrees[users]).long()
    return users, ordered[place] % num_items, others.draw(users, generator)


class OtherItems:
    """The items that each user did not choose, to draw from; what the interactions say is sorted once.

    Args:
        interactions: (2, E) int64, the user and the item of each interaction.
        num_users: number of users.
        num_items: number of items.

    Raises:
        InputError: a user or item does not exist.
    """

    def __init__(self, interactions: Tensor, num_users: int, num_items: int) -> None:
        check_edges(interactions, num_users, num_items, name="interactions", ends=("users", "items"))
        self.num_items = num_items
        self.taken = _numbered(interactions, num_items).unique()
        self.counts = torch.bincount(self.taken // num_items, minlength=num_users)

    def check(self, users: Tensor) -> None:
        """Refuse users (B,) for whom nothing can be drawn.

        Raises:
            InputError: one of them has all items.
        """
        counts = self.counts[users]
        if bool((counts == self.num_items).any()):
            who = int(users[counts.argmax()])
            raise InputError(f"interactions give user {who} all {self.num_items} items; no other can be drawn")

    def draw(self, users: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw for each user (B,) an item (B,) that it did not choose, uniformly.

        What a user has is drawn again, until it has none; each round succeeds with a probability of at least 1 / items.

        Args:
            users: (B,) int64.
            generator: source of the random numbers, on the device of the users; None is that of torch.

        Raises:
            InputError: one of these users has all items.
        """
        self.check(users)
        items, wrong = torch.empty_like(users), torch.ones_like(users, dtype=torch.bool)
        while bool(wrong.any()):
            count = int(wrong.sum())
            items[wrong] = torch.randint(self.num_items, (count,), generator=generator, device=users.device)
            pairs = users * self.num_items + items
            place = torch.searchsorted(self.taken, pairs).clamp_max(max(self.taken.shape[0] - 1, 0))
            wrong = self.taken[place] == pairs
        return items


def interaction_mask(interactions: Tensor, users: Tensor, num_users: int, num_items: int) -> Tensor:
    """Return which of the items (B, I) each of the given users (B,) has, as bool.

    Args:
        interactions: (2, E) int64, the user and the item of each interaction.
        users: (B,) int64.
        num_users: number of users.
        num_items: number of items, I.

    Raises:
        InputError: the shape or type is wrong, or a user or item does not exist.
    """
    return edge_rows(interactions, users, (num_users, num_items), name="interactions", ends=("users", "items"))


def recall(ranked: Tensor, relevant: Tensor) -> float:
    """Return the mean over users of the share of the relevant items that are among the ranked.

    Args:
        ranked: (B, k) int64, items, best first; see `convnn.ops.select.highest`.
        relevant: (B, I) bool, the items that each user should get. Users without any do not count.

    Raises:
        InputError: shapes do not agree, or no user has a relevant item.
    """
    return recalls(ranked, relevant).mean().item()


def recalls(ranked: Tensor, relevant: Tensor) -> Tensor:
    """Return `recall` of each of the users with relevant items, (B',) float64."""
    hits, totals = _hits(ranked, relevant)
    return hits.sum(1) / totals


def precision(ranked: Tensor, relevant: Tensor) -> float:
    """Return the mean over users of the share of the ranked items that are relevant; arguments as in `recall`."""
    hits, _ = _hits(ranked, relevant)
    return hits.mean().item()


def ndcg(ranked: Tensor, relevant: Tensor) -> float:
    r"""Return the mean over users of the normalised discounted cumulative gain; arguments as in `recall`.

    .. math:: \sum_{r=1}^{k} \frac{\mathrm{hit}_r}{\log_2(r + 1)} \Big/ \sum_{r=1}^{\min(k, t)} \frac{1}{\log_2(r + 1)}

    for t relevant items.
    """
    return ndcgs(ranked, relevant).mean().item()


def ndcgs(ranked: Tensor, relevant: Tensor) -> Tensor:
    """Return `ndcg` of each of the users with relevant items, (B',) float64."""
    hits, totals = _hits(ranked, relevant)
    ranks = torch.arange(1, ranked.shape[1] + 1, device=ranked.device, dtype=hits.dtype)
    gains = 1 / (ranks + 1).log2()
    best = gains.cumsum(0)[totals.clamp_max(ranked.shape[1]).long() - 1]
    return (hits * gains).sum(1) / best


def _hits(ranked: Tensor, relevant: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each user with relevant items which ranked ones are, (B', k), and how many there are, (B',)."""
    if ranked.dim() != 2 or relevant.dim() != 2 or relevant.dtype != torch.bool or ranked.shape[0] != relevant.shape[0]:
        raise InputError(
            f"ranked of shape {tuple(ranked.shape)} and relevant of shape {tuple(relevant.shape)} and {relevant.dtype}"
            " must be (B, k), and (B, I) bool"
        )
    totals = relevant.sum(1)
    counted = totals > 0
    if not bool(counted.any()):
        raise InputError("relevant must have an item for at least one user")
    return relevant.gather(1, ranked)[counted].double(), totals[counted].double()


def _numbered(interactions: Tensor, num_items: int) -> Tensor:
    """Return a number (E,) for each pair of user and item."""
    return interactions[0] * num_items + interactions[1]
