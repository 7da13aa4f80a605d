"""Parts of a graph that are drawn: subgraphs as batches, and pairs of nodes that walks pass."""

from convnn.graphs.sample.alias import AliasTable
from convnn.graphs.sample.augmented import AugmentedSampler, Partition, walk_pairs
from convnn.graphs.sample.draws import EdgeDraws, FrontierDraws, NodeDraws, WalkDraws
from convnn.graphs.sample.saint import GraphSAINTSampler, Normalization, normalized_loss
from convnn.graphs.sample.training_graph import Subgraph, TrainingGraph

__all__ = [
    "AliasTable",
    "AugmentedSampler",
    "EdgeDraws",
    "FrontierDraws",
    "GraphSAINTSampler",
    "NodeDraws",
    "Normalization",
    "Partition",
    "Subgraph",
    "TrainingGraph",
    "WalkDraws",
    "normalized_loss",
    "walk_pairs",
]
