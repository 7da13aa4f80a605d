"""Knowledge graphs: classes that nobody has seen, completion by reading a subgraph, and statements with qualifiers."""

from convnn.models.readers.chequered import ChequeredInteraction
from convnn.models.readers.experts import TopKExperts
from convnn.models.readers.retrieve import Retriever
from convnn.models.readers.statements import (
    StatementLogits,
    StatementReader,
    smoothed_cross_entropy,
    statement_loss,
)
from convnn.models.readers.subgraphs import SubgraphReader, SubgraphTokens, subgraph_tokens
from convnn.tasks.knowledge.zero_shot import UnseenClasses, ZeroShotGCN, zero_shot_hits, zero_shot_loss

__all__ = [
    "ChequeredInteraction",
    "Retriever",
    "StatementLogits",
    "StatementReader",
    "SubgraphReader",
    "SubgraphTokens",
    "TopKExperts",
    "UnseenClasses",
    "ZeroShotGCN",
    "smoothed_cross_entropy",
    "statement_loss",
    "subgraph_tokens",
    "zero_shot_hits",
    "zero_shot_loss",
]
