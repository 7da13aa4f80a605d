"""Learning which triples hold: the loss by a margin, and triples with a wrong end."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative
from convnn.ops.triples import HEAD, RELATION, TAIL, check_triples


def margin_loss(positives: Tensor, negatives: Tensor, margin: float = 0.5) -> Tensor:
    r"""Return :math:`\sum_b \max(0, m - p_b + n_b)`: a triple that holds should score above one that does not, by m.

    Args:
        positives: (B,) scores p.
        negatives: (B,) scores n.
        margin: m, at least 0.

    Raises:
        InputError: shapes do not agree, or the margin is negative.
    """
    check_not_negative("margin", margin)
    if positives.dim() != 1 or positives.shape != negatives.shape:
        raise InputError(
            f"positives of shape {tuple(positives.shape)} and negatives of shape {tuple(negatives.shape)} must both be"
            " (B,)"
        )
    return F.relu(margin - positives + negatives).sum()


def head_shares(triples: Tensor, num_nodes: int, num_relations: int) -> Tensor:
    r"""Return how often the head of a triple of each relation is to be replaced rather than its tail, (R,) float64.

    .. math:: p_r = U_t / (U_h + U_t)

    for the numbers of different heads and tails of the relation: where many heads share a tail, a wrong tail is wrong
    more surely. A relation without triples has 1/2.

    Args:
        triples: (B, 3) int64, those of training.
        num_nodes: number of entities.
        num_relations: number of relations, R.

    Raises:
        InputError: the triples are none of such a graph.

    Reference:
        Wang et al., "Knowledge Graph Embedding by Translating on Hyperplanes", AAAI 2014, section 3.2.
    """
    check_triples(triples, num_nodes, num_relations)
    heads, tails = (
        torch.bincount(
            (triples[:, RELATION] * num_nodes + triples[:, end]).unique() // num_nodes, minlength=num_relations
        )
        for end in (HEAD, TAIL)
    )
    total = (heads + tails).double()
    return torch.where(total > 0, tails / total.clamp_min(1), 0.5)


def corrupt(
    triples: Tensor, num_nodes: int, shares: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Return the triples (B, 3) with another head, or else tail, of all entities alike; it may come out the same.

    Args:
        triples: (B, 3) int64.
        num_nodes: number of entities.
        shares: (R,) how often the head is replaced, by relation, as `head_shares` returns it; None is a half.
        generator: source of the random numbers, on the device of the triples; None is that of torch.

    Raises:
        InputError: the triples are none of such a graph.
    """
    check_at_least("num_nodes", num_nodes, 1)
    check_triples(triples, num_nodes, None if shares is None else shares.shape[0])
    count, device = triples.shape[0], triples.device
    draws = torch.rand(count, generator=generator, device=device, dtype=torch.double)
    other = torch.randint(num_nodes, (count,), generator=generator, device=device)
    is_head = draws < (0.5 if shares is None else shares.to(device)[triples[:, RELATION]])
    wrong = triples.clone()
    wrong[:, HEAD] = torch.where(is_head, other, triples[:, HEAD])
    wrong[:, TAIL] = torch.where(is_head, triples[:, TAIL], other)
    return wrong
