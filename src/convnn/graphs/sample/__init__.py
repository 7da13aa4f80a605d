"""Parts of a graph that are drawn: subgraphs as batches."""

from convnn.graphs.sample.draws import EdgeDraws, FrontierDraws, NodeDraws, WalkDraws
from convnn.graphs.sample.saint import GraphSAINTSampler, Normalization, normalized_loss
from convnn.graphs.sample.training_graph import Subgraph, TrainingGraph

__all__ = [
    "EdgeDraws",
    "FrontierDraws",
    "GraphSAINTSampler",
    "NodeDraws",
    "Normalization",
    "Subgraph",
    "TrainingGraph",
    "WalkDraws",
    "normalized_loss",
]
