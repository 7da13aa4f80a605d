r"""Triples of a knowledge graph as rows of a signed incidence matrix.

The entities of a triple :math:`(h, r, t)` and its relation are the neighbours of one row, weighed +1, -1 and +1, so
that :math:`e_h + r - e_t` of all triples is one sparse product, and so is its gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.ops import ragged
from convnn.ops.ragged import Lists

HEAD, RELATION, TAIL = 0, 1, 2
"""Columns of triples."""


class Incidence(NamedTuple):
    """A signed incidence matrix A (B, columns) of triples, in rows (CSR); its transpose is found once, with `lists`.

    Attributes:
        lists: the columns of each row; an entity that is head and tail occurs twice.
        signs: (B * entries,) +1 or -1 for each entry.
    """

    lists: Lists
    signs: Tensor

    def product(self, table: Tensor, *, backend: str = "auto") -> Tensor:
        """Return A times a table (columns, d), (B, d), in one sparse product, as its gradient is.

        Memory is that of the result; three gathered copies of it are never made.

        Raises:
            InputError: the table has another number of rows.
        """
        return ragged.total(table, self.lists, self.signs.to(table.dtype), backend=backend)


def incidence(triples: Tensor, num_nodes: int, num_relations: int | None = None) -> Incidence:
    r"""Return the matrix with A E = e_h + r - e_t, for a table E of all entities and then all relations.

    Without relations it gives e_h - e_t of a table of entities. Entries of one column add up: those of a triple whose
    head is its tail cancel.

    Args:
        triples: (B, 3) int64: head, relation and tail of each.
        num_nodes: number of entities, N.
        num_relations: number of relations, R; None leaves them out.

    Raises:
        InputError: the shape or type is wrong, there is no triple, or an entity or relation does not exist.

    Reference:
        SparseTransX, arXiv 2502.16949.

    Example:
        >>> table = torch.tensor([[1.0], [5.0], [100.0]])
        >>> incidence(torch.tensor([[1, 0, 0]]), 2, 1).product(table)
        tensor([[104.]])
    """
    check_triples(triples, num_nodes, num_relations)
    columns, signs = [triples[:, HEAD], triples[:, TAIL]], [1.0, -1.0]
    if num_relations is not None:
        columns, signs = [*columns, triples[:, RELATION] + num_nodes], [*signs, 1.0]
    rows, width = triples.shape[0], len(columns)
    starts = torch.arange(0, width * rows + 1, width, device=triples.device)
    lists = Lists(starts, torch.stack(columns, dim=1).flatten(), num_nodes + (num_relations or 0))
    return Incidence(lists, torch.tensor(signs, device=triples.device).repeat(rows))


def gather(table: Tensor, triples: Tensor, num_nodes: int, num_relations: int | None = None) -> Tensor:
    """Return what the product with `incidence` is, from three gathered rows of each triple, and errors alike."""
    check_triples(triples, num_nodes, num_relations)
    difference = table[triples[:, HEAD]] - table[triples[:, TAIL]]
    return difference if num_relations is None else difference + table[triples[:, RELATION] + num_nodes]


def check_triples(triples: Tensor, num_nodes: int, num_relations: int | None = None, name: str = "triples") -> None:
    """Refuse triples that are none of a graph with so many entities and relations; None: relations are not looked at.

    Raises:
        InputError: the shape or type is wrong, there is no triple, or an entity or relation does not exist.
    """
    if triples.dim() != 2 or triples.shape[1] != 3 or not triples.shape[0] or triples.dtype != torch.long:
        shape = tuple(triples.shape)
        raise InputError(f"{name} of shape {shape} and {triples.dtype} must be (B, 3) int64 with at least one row")
    check_at_least("num_nodes", num_nodes, 1)
    places = [("entities", triples[:, [HEAD, TAIL]], num_nodes)]
    if num_relations is not None:
        check_at_least("num_relations", num_relations, 1)
        places.append(("relations", triples[:, RELATION], num_relations))
    for of, numbers, count in places:
        least, most = int(numbers.min()), int(numbers.max())
        if least < 0 or most >= count:
            raise InputError(f"{name} has {of} from {least} to {most}; they must lie between 0 and {count - 1}")
