"""Vectors for the nodes of a graph: skip-gram over walks, and what a core says about the rest."""

from convnn.graphs.embed.cores import core_walk_counts, undirected_lists
from convnn.graphs.embed.estimators import CoreWalk, GraphVite
from convnn.graphs.embed.propagation import Embedder, KCoreEmbedding, propagate
from convnn.graphs.embed.skip_gram import Negatives, SkipGram, orthogonal_blocks
from convnn.graphs.embed.training import Training
from convnn.ops.cores import core_numbers

__all__ = [
    "CoreWalk",
    "Embedder",
    "GraphVite",
    "KCoreEmbedding",
    "Negatives",
    "SkipGram",
    "Training",
    "core_numbers",
    "core_walk_counts",
    "orthogonal_blocks",
    "propagate",
    "undirected_lists",
]
