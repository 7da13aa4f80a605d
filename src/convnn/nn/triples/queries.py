"""What a network on knowledge graphs reads: triples, of which one end may be asked for."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.triples import HEAD, TAIL, check_triples


class Queries(NamedTuple):
    """Triples of which one end is asked for.

    Attributes:
        triples: (B, 3) int64: head, relation and tail of each; what is asked for is there too, but not read.
        of_tail: (B,) bool, whether the tail is asked for; False asks for the head.
        others: (2, E) int64, pairs of a query and an entity that fits too, and is left out of its ranking; or None.
        qualifiers: (B, 2 m) int64, a relation and an entity of each qualifier, or -1 where there are fewer; or None.
        facts: (n, 3 + 2 m) int64, triples of training with their qualifiers, in which networks may read; or None.
    """

    triples: Tensor
    of_tail: Tensor
    others: Tensor | None = None
    qualifiers: Tensor | None = None
    facts: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """The entity (B,) at the other end."""
        return torch.where(self.of_tail, self.triples[:, HEAD], self.triples[:, TAIL])

    @property
    def wanted(self) -> Tensor:
        """The entity (B,) that is asked for."""
        return torch.where(self.of_tail, self.triples[:, TAIL], self.triples[:, HEAD])


def first_query(count: int, device: torch.device | str = "cpu") -> Queries:
    """Return so many queries for the tail of the first triple that any graph could have."""
    of_tail = torch.ones(count, dtype=torch.bool, device=device)
    return Queries(torch.zeros(count, 3, dtype=torch.long, device=device), of_tail)


def leave_out(logits: Tensor, others: Tensor | None) -> Tensor:
    """Return logits (B, N) in which the pairs (2, E) of query and entity have the lowest finite number."""
    if others is None:
        return logits
    return logits.index_put(tuple(others), logits.new_tensor(torch.finfo(logits.dtype).min))


def check(asked: Queries, num_nodes: int, num_relations: int) -> None:
    """Refuse queries that are none of a graph with so many entities and relations.

    Raises:
        InputError: a shape or type is wrong, there is no query, or an entity or relation does not exist.
    """
    check_triples(asked.triples, num_nodes, num_relations)
    if asked.of_tail.shape != asked.triples.shape[:1] or asked.of_tail.dtype != torch.bool:
        raise InputError(
            f"of_tail of shape {tuple(asked.of_tail.shape)} and {asked.of_tail.dtype} must be one bool a triple"
        )
    if asked.qualifiers is not None:
        _check_qualifiers(asked.qualifiers, asked.triples.shape[0], num_nodes, num_relations)


def _check_qualifiers(qualifiers: Tensor, count: int, num_nodes: int, num_relations: int) -> None:
    """Refuse qualifiers that are no pairs of a relation and an entity."""
    relations, entities = qualifiers[:, ::2], qualifiers[:, 1::2]
    if qualifiers.dim() != 2 or relations.shape != entities.shape or qualifiers.shape[0] != count:
        raise InputError(f"qualifiers of shape {tuple(qualifiers.shape)} must be ({count}, 2 m), a row for each triple")
    are_pairs = ((relations < 0) == (entities < 0)).all()
    if not are_pairs or bool((relations >= num_relations).any()) or bool((entities >= num_nodes).any()):
        raise InputError(
            f"qualifiers must be a relation below {num_relations} and an entity below {num_nodes} each, or -1 for both"
        )
