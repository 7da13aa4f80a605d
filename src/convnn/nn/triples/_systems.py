"""Facts of what reads the triples of a knowledge graph."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.triples.rows import GatheredRows, SparseRows
from convnn.systems import System, register_family

register_family(
    "knowledge",
    "Knowledge graphs",
    "Facts are triples of a head, a relation and a tail; which entity completes one, who else is near it, and which"
    " classes nobody has seen yet follow from the others.",
)
_fact = partial(System, family="knowledge", selects="the three rows of a triple: head, relation and tail")

register_layer(
    "SparseRows",
    SparseRows,
    _fact(
        number=14,
        name="Triples by one sparse product",
        published="SparseTransX",
        when="translational embeddings of many triples at once, in little memory",
        weighs="+1, +1 and -1, of a signed incidence matrix",
        aggregates="a sum, by which the triple scores: TransE, TransH, TransR and TorusE",
        paper="arXiv 2502.16949",
        checked="the published code of TransE, with its training, hits and gradients; torchkge's TransH and TransR;"
        " TransE of PyTorch Geometric; gathering",
        where="convnn.nn.triples.SparseRows convnn.models.TransE convnn.ops.triples.incidence",
    ),
    reads="triples",
)
register_layer(
    "GatheredRows",
    GatheredRows,
    _fact(
        name="Triples by gathered rows",
        published="gather and scatter",
        when="to compare with the sparse product",
        weighs="+1, +1 and -1",
        aggregates="a sum of three copies",
        paper="as most libraries do",
        checked="the sparse product, whose values and gradients it has",
        where="convnn.nn.triples.GatheredRows",
    ),
    reads="triples",
)
