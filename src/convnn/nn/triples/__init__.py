"""Layers on the triples of a knowledge graph: (head, relation, tail), each a number."""

from convnn.nn.triples.queries import Queries
from convnn.nn.triples.rows import GatheredRows, SparseRows
from convnn.nn.triples.translations import DISSIMILARITIES, toruse, transe, transh, transr

__all__ = [
    "DISSIMILARITIES",
    "GatheredRows",
    "Queries",
    "SparseRows",
    "toruse",
    "transe",
    "transh",
    "transr",
]
