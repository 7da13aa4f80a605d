"""Training from what earlier steps have kept: embeddings of nodes, and the gradients that reach them."""

from convnn.objectives.cached.lazy import LazyTrainer

__all__ = ["LazyTrainer"]
