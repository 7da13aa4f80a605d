"""GraphVite and CoreWalk: embeddings of nodes by skip-gram over walks."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.graphs.embed.cores import MODES, core_walk_counts, undirected_lists
from convnn.graphs.embed.skip_gram import Negatives, SkipGram
from convnn.graphs.embed.training import Training, falling_rates
from convnn.graphs.sample.augmented import Partition, walk_pairs
from convnn.ops.cores import core_numbers
from convnn.ops.walks import RandomWalks, Stream

Progress = Callable[[int, int], None]
"""What is told how many pairs are done, and how many there are in all."""


class GraphVite:
    r"""Embed nodes so that those that walks pass within a few steps are near: pairs as they are needed, by blocks.

    Pools of pairs for all blocks are filled by `AugmentedSampler`; blocks without a part in common are trained at once,
    in the order of `orthogonal_blocks`, each with negatives from the part of its tails. The result does not depend on
    the number of threads. The learning rate falls from `lr` in proportion to the pairs that are left.

    Args:
        dim: D, at least 1.
        epochs: pairs for each edge; published 2000 to 4000.
        walk_length: see `AugmentedSampler`, as for `augmentation`, `num_parts`, `p` and `q`.
        augmentation: as there.
        num_parts: P.
        pool_size: the most pairs in the pool of a block; all blocks are passed at least 20 times, since those that are
            trained last leave their mark.
        batch_size: pairs between two changes of the learning rate.
        lr: first learning rate.
        weight_decay: see `convnn.ops.skip_gram`.
        num_negative: negatives of each pair, at least 1.
        negative_weight: weight of each.
        exponent: power of the weighted degree with which nodes are drawn as negatives.
        p: see `RandomWalks`.
        q: see `RandomWalks`.
        seed: of first values, walks and negatives.
        progress: called after each pool with the number of pairs done and in all.

    Attributes:
        model_: the trained `SkipGram`.
        embedding_: (N, D) float32.

    Raises:
        InputError: an argument is out of range; in `fit`, the graph has no edge, or fewer nodes than parts.

    Reference:
        Zhu et al., "GraphVite", WWW 2019; published defaults but for `epochs`.
    """

    model_: SkipGram
    embedding_: Tensor

    def __init__(
        self,
        dim: int = 128,
        *,
        epochs: float = 10,
        walk_length: int = 40,
        augmentation: int = 5,
        num_parts: int = 1,
        pool_size: int = 1_000_000,
        batch_size: int = 100_000,
        lr: float = 0.025,
        weight_decay: float = 0.005,
        num_negative: int = 1,
        negative_weight: float = 5.0,
        exponent: float = 0.75,
        p: float = 1.0,
        q: float = 1.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        for name, value in (("dim", dim), ("pool_size", pool_size), ("batch_size", batch_size)):
            check_at_least(name, value, 1)
        check_at_least("num_negative", num_negative, 1)
        check_positive("epochs", epochs)
        check_positive("lr", lr)
        self.dim = dim
        self.epochs = epochs
        self.walk_length = walk_length
        self.augmentation = augmentation
        self.num_parts = num_parts
        self.pool_size = pool_size
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.num_negative = num_negative
        self.negative_weight = negative_weight
        self.exponent = exponent
        self.p = p
        self.q = q
        self.seed = seed
        self.progress = progress

    def fit(self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> "GraphVite":
        """Embed a graph with edges (2, E) int64, both ways if it is undirected, and weights (E,) of at least 0."""
        training = self.begin(edge_index, edge_weight, num_nodes)
        while not training.is_over:
            training.advance()
            if self.progress is not None:
                self.progress(min(training.done, training.total), training.total)
        self.model_, self.embedding_ = training.model, training.model.vertex.weight.data
        return self

    def begin(self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> Training:
        """Return what `fit` runs to its end, to be advanced a pool at a time, kept and restored."""
        return Training(self, edge_index, edge_weight, num_nodes)


class CoreWalk:
    r"""Embed nodes by skip-gram over walks, fewer of them from nodes in outer cores (DeepWalk without that).

    Every node is paired with all within `window` places of it in a walk, both ways.

    Args:
        dim: D, at least 1.
        n_walks: walks from each node of the innermost core.
        walk_length: nodes in a walk, at least 2.
        window: places, at least 1.
        mode: "linear", "power" or "sigmoid", see `core_walk_counts`; None for as many walks from every node, DeepWalk.
        lr: first learning rate, which falls in proportion to the walks that are left.
        num_negative: negatives of each pair, drawn by the 0.75th power of how often walks pass.
        p: see `RandomWalks`.
        q: see `RandomWalks`.
        seed: of first values, walks, their order and negatives.

    Attributes:
        walk_counts_: (N,) walks that began at each node.
        model_: the trained `SkipGram`.
        embedding_: (N, D) float32.

    Raises:
        InputError: an argument is out of range; in `fit`, the graph is not undirected.

    Reference:
        "About Graph Degeneracy, Representation Learning and Scalability"; the published code trains by hierarchical
        softmax.
    """

    CHUNK = 1024  # walks whose pairs are mixed

    walk_counts_: Tensor
    model_: SkipGram
    embedding_: Tensor

    def __init__(
        self,
        dim: int = 150,
        *,
        n_walks: int = 15,
        walk_length: int = 30,
        window: int = 5,
        mode: str | None = "linear",
        lr: float = 0.025,
        num_negative: int = 5,
        p: float = 1.0,
        q: float = 1.0,
        seed: int = 0,
    ) -> None:
        for name, value in (("dim", dim), ("n_walks", n_walks), ("window", window), ("num_negative", num_negative)):
            check_at_least(name, value, 1)
        check_at_least("walk_length", walk_length, 2)
        check_positive("lr", lr)
        if mode is not None:
            check_choice("mode", mode, MODES)
        self.dim = dim
        self.n_walks = n_walks
        self.walk_length = walk_length
        self.window = window
        self.mode = mode
        self.lr = lr
        self.num_negative = num_negative
        self.p = p
        self.q = q
        self.seed = seed

    def fit(self, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> "CoreWalk":
        """Embed an undirected graph, (2, E) int64 with each edge both ways and positive weights (E,)."""
        nodes = int(edge_index.max()) + 1 if num_nodes is None else num_nodes
        lists, weights = undirected_lists(edge_index, nodes, edge_weight)
        if not lists.indices.numel():
            raise InputError("edge_index must have at least one edge")
        self.walk_counts_ = torch.full((nodes,), self.n_walks).masked_fill(lists.lengths == 0, 0)
        if self.mode is not None:
            self.walk_counts_ = core_walk_counts(core_numbers(lists), self.n_walks, self.mode)
        stream = Stream(self.seed)
        first = torch.arange(nodes).repeat_interleave(self.walk_counts_)
        first = first[stream.uniform(first.shape[0]).argsort()]
        walks = RandomWalks(lists, None if edge_weight is None else weights, p=self.p, q=self.q)
        passed = walks(first, self.walk_length - 1, stream)
        model = SkipGram(nodes, self.dim, negative_weight=1.0, weight_decay=0.0, seed=self.seed + 1)
        frequency = torch.bincount(passed.flatten(), minlength=nodes).double()
        negatives = Negatives(frequency, Partition.by_weight(frequency, 1))
        for done, chunk in zip(range(0, first.shape[0], self.CHUNK), passed.split(self.CHUNK), strict=True):
            pairs = walk_pairs(chunk, min(self.window, self.walk_length - 1))
            pairs = torch.cat([pairs, pairs.flip(1)])
            pairs = pairs[stream.uniform(pairs.shape[0]).argsort()]
            drawn = negatives.draw(0, stream, pairs.shape[0], self.num_negative)
            rates = falling_rates(self.lr, torch.full((pairs.shape[0],), done), first.shape[0])
            model.step(pairs, drawn, rates)
        self.model_, self.embedding_ = model, model.vertex.weight.data
        return self
