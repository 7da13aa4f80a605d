"""Facts of the applications to knowledge graphs."""

from functools import partial

from convnn.nn.triples import _systems as _family  # noqa: F401
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="knowledge")

register_system(
    _fact(
        number=28,
        name="Classifiers of unseen classes",
        selects="the neighbours of a class in a graph of words, and the class itself",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, after a linear map, through six layers: the weights of its classifier",
        paper="arXiv 1803.08035",
        checked=f"{PUBLISHED}, and its hits; GCNConv of PyTorch Geometric",
        where="convnn.tasks.knowledge.ZeroShotGCN convnn.tasks.knowledge.UnseenClasses",
    )
)
register_system(
    _fact(
        number=96,
        name="Reading a retrieved subgraph",
        selects="a tree of triples around the known entity, drawn breadth first; within it entities, relations, and the"
        " two ends of an edge with its relation",
        weighs="by attention",
        aggregates="a sum, token by token; the query then attends to all tokens",
        paper="arXiv 2212.09724",
        checked=f"{PUBLISHED}, with retriever and mask",
        where="convnn.tasks.knowledge.SubgraphReader convnn.tasks.knowledge.Retriever"
        " convnn.tasks.knowledge.subgraph_tokens convnn.models.SubgraphCompletion",
    )
)
register_system(
    _fact(
        number=17,
        name="Statements with qualifiers",
        selects="the tokens of a statement; statements about its head, and its qualifiers",
        weighs="by attention, and for each token by the gates of its best experts",
        aggregates="a sum, and a mean over the statements of neighbours, mixed in by a circular convolution",
        paper="arXiv 2308.06512",
        checked=f"{PUBLISHED}, with losses, ranks and running statistics; experts and convolution in loops",
        where="convnn.tasks.knowledge.StatementReader convnn.tasks.knowledge.TopKExperts"
        " convnn.tasks.knowledge.ChequeredInteraction convnn.models.StatementCompletion",
    )
)
