"""The rows of each triple in a table of entities and relations, brought together: e_h + r - e_t."""

from torch import Tensor, nn

from convnn.ops import triples as ops


class SparseRows(nn.Module):
    """Bring rows together by one product with the signed incidence matrix of the triples.

    Its gradient is one product too, and neither makes copies of the rows.

    Args:
        num_nodes: number of entities, N.
        num_relations: number of relations, R; 0 leaves them out: e_h - e_t of a table of entities alone.
        backend: as in `convnn.ops.select.nearest`.

    Reference:
        SparseTransX, arXiv 2502.16949.
    """

    def __init__(self, num_nodes: int, num_relations: int, *, backend: str = "auto") -> None:
        super().__init__()
        self.num_nodes, self.num_relations, self.backend = num_nodes, num_relations or None, backend

    def forward(self, table: Tensor, triples: Tensor) -> Tensor:
        """Return e_h + r - e_t (B, d) of triples (B, 3) from a table (N + R, d).

        Raises:
            InputError: the table has another number of rows, or the triples are none of this graph.
        """
        found = ops.incidence(triples, self.num_nodes, self.num_relations)
        return found.product(table, backend=self.backend)

    def extra_repr(self) -> str:
        """Describe the sizes."""
        return f"{self.num_nodes}, {self.num_relations}"


class GatheredRows(SparseRows):
    """Bring rows together by gathering three of them for each triple, as is usual: the same result, for comparison."""

    def forward(self, table: Tensor, triples: Tensor) -> Tensor:
        """Return what `SparseRows` does."""
        return ops.gather(table, triples, self.num_nodes, self.num_relations)
