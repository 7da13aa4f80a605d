r"""GraphSAINT: minibatches that are subgraphs, weighted so that sums over them have no bias (arXiv 1907.04931)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive
from convnn.graphs.sample.draws import Draws
from convnn.graphs.sample.training_graph import Subgraph, TrainingGraph
from convnn.ops.walks import Stream, stream_of

_UNSEEN_NODE = 0.1  # how often a node counts as drawn that never was
_MOST = 1e4


@dataclass(frozen=True)
class Normalization:
    r"""What makes sums over drawn subgraphs unbiased: weights of edges and of the losses of nodes.

    From N subgraphs, of which C_v have node v and C_vu the edge from u to v:

    .. math:: \alpha^{-1}_{vu} = \min(C_v / C_{vu}, 10^4), \qquad \lambda^{-1}_v = \frac{N}{C_v |V|}

    Attributes:
        node_count: (N,) C_v.
        edge_count: (E,) C_vu, in the order of the lists of the training graph.
        edges: (E,) weights of edges in sums over neighbours.
        nodes: (N,) weights of losses, 0 for nodes that are not in training.
    """

    node_count: Tensor
    edge_count: Tensor
    edges: Tensor
    nodes: Tensor

    @classmethod
    def of_subgraphs(cls, graph: TrainingGraph, subgraphs: list[Subgraph], *, published: bool) -> "Normalization":
        """Count subgraphs.

        A node that never was drawn counts as drawn 0.1 times, an edge as drawn once. `published` gives such an edge the
        weight 10^4, as the published code does: a single one ruins the batch that it is in.
        """
        nodes, edges = (
            torch.bincount(torch.cat(found), minlength=length).double()
            for found, length in (
                ([one.nodes for one in subgraphs], graph.lists.queries),
                ([one.edges for one in subgraphs], graph.lists.indices.shape[0]),
            )
        )
        counted = nodes.masked_fill(nodes == 0, _UNSEEN_NODE)
        ratios = counted[graph.lists.query_of_each] / edges.clamp_min(1)
        if published:
            ratios = torch.where((edges == 0) & (nodes[graph.lists.query_of_each] > 0), _MOST, ratios)
        losses = torch.zeros_like(nodes)
        losses[graph.train] = len(subgraphs) / (counted[graph.train] * graph.train.shape[0])
        return cls(nodes, edges, ratios.clamp_max(_MOST), losses)


class GraphSAINTSampler:
    """Subgraphs of a graph as batches, in the form of PyTorch Geometric's samplers of the same name.

    Each batch is a `Data` with the features, labels and masks of its nodes, `edge_index` among them, and

    - `node_index`: (n,) their numbers in the graph;
    - `node_norm`: (n,) the weights of their losses, whose sum over a batch has the mean over training nodes as its
      expectation;
    - `edge_norm`: (e,) the weights of edges that make a sum over neighbours unbiased;
    - `edge_weight`: (e,) the same divided by the degree of the target in the training graph, for a mean over
      neighbours.

    Subgraphs are drawn until they have `coverage` times as many nodes as are for training; from their counts follow the
    weights, and they are the first batches.

    Args:
        data: graph as `torch_geometric.data.Data`, with `train_mask` unless all nodes are for training. Of the edges of
            other nodes none is in a batch. It must have no `edge_weight` of its own.
        draws: how nodes are drawn: `NodeDraws`, `EdgeDraws`, `WalkDraws` or `FrontierDraws`.
        coverage: positive; 500 and more for graphs of few hundred nodes.
        num_steps: number of batches in an iteration.
        seed: a seed, or a stream of numbers.
        at_once: subgraphs drawn between two looks at the coverage.
        published: see `Normalization.of_subgraphs`.

    Raises:
        InputError: an argument is out of range, or there is no training node.
    """

    def __init__(
        self,
        data: Any,
        draws: Draws,
        *,
        coverage: float = 50,
        num_steps: int = 1,
        seed: int | Stream = 0,
        at_once: int = 1,
        published: bool = False,
    ) -> None:
        check_positive("coverage", coverage)
        check_at_least("num_steps", num_steps, 1)
        check_at_least("at_once", at_once, 1)
        if not callable(draws):
            raise InputError(f"draws={draws!r} must be NodeDraws, EdgeDraws, WalkDraws or FrontierDraws")
        if "edge_weight" in data:
            raise InputError("data has an edge_weight, but the mean over neighbours that is estimated has none")
        mask = data.train_mask if "train_mask" in data else None
        self.data = data
        self.draws = draws
        self.num_steps = num_steps
        self.graph = TrainingGraph(data.edge_index, data.num_nodes, None if mask is None else mask.nonzero().flatten())
        self.stream = stream_of(seed)
        self._waiting = self._warm_up(coverage * self.graph.train.shape[0], at_once)
        self.normalization = Normalization.of_subgraphs(self.graph, self._waiting, published=published)

    def __len__(self) -> int:
        """Return the number of batches in an iteration."""
        return self.num_steps

    def __iter__(self) -> Iterator[Any]:
        """Yield batches: first those that the weights were counted from, the last one first, then new ones."""
        for _ in range(self.num_steps):
            yield self.batch(self._waiting.pop() if self._waiting else self.subgraph())

    def subgraph(self) -> Subgraph:
        """Draw a subgraph."""
        return self.graph.subgraph(self.draws(self.graph, self.stream))

    def batch(self, subgraph: Subgraph) -> Any:
        """Return the `Data` of a subgraph."""
        nodes, edges, local = subgraph.nodes, subgraph.edges, self.graph.local(subgraph)
        norms, degrees = self.normalization, self.graph.degrees.index_select(0, nodes)
        batch = type(self.data)()
        for key, value in self.data:
            if self.data.is_edge_attr(key):
                batch[key] = local if key == "edge_index" else value[self.graph.places[edges]]
            elif key != "num_nodes":
                batch[key] = value[nodes] if self.data.is_node_attr(key) else value
        batch.num_nodes, batch.node_index = nodes.shape[0], nodes
        batch.node_norm = norms.nodes.index_select(0, nodes).to(self._dtype)
        batch.edge_norm = norms.edges.index_select(0, edges).to(self._dtype)
        batch.edge_weight = batch.edge_norm / degrees.to(self._dtype).index_select(0, local[1])
        return batch

    def whole(self) -> Any:
        """Return the whole graph as a batch for evaluation: means over all neighbours, and each node's loss equal."""
        data = self.data.clone()
        degrees = torch.bincount(data.edge_index[1], minlength=data.num_nodes)
        data.node_index = torch.arange(data.num_nodes)
        data.node_norm = torch.full((data.num_nodes,), 1 / data.num_nodes, dtype=self._dtype)
        data.edge_norm = torch.ones(data.edge_index.shape[1], dtype=self._dtype)
        data.edge_weight = data.edge_norm / degrees[data.edge_index[1]]
        return data

    def _warm_up(self, enough: float, at_once: int) -> list[Subgraph]:
        subgraphs: list[Subgraph] = []
        size = 0
        while size <= enough:
            found = [self.subgraph() for _ in range(at_once)]
            size += sum(one.nodes.shape[0] for one in found)
            subgraphs += found
        return subgraphs

    @property
    def _dtype(self) -> torch.dtype:
        """The type of the features, or torch's default."""
        x = self.data.x if "x" in self.data else None
        return x.dtype if x is not None and x.is_floating_point() else torch.get_default_dtype()


def normalized_loss(outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    r"""Return the sum of the weighted losses of nodes, :math:`\sum_v \lambda^{-1}_v L_v`.

    Args:
        outputs: (n, classes).
        labels: (n,) int64, for softmax and cross-entropy; or (n, classes) floating, for a sigmoid of each class and
            binary cross-entropy, summed over classes.
        weights: (n,), `node_norm` of a batch.
    """
    if labels.dim() == 1:
        losses = F.cross_entropy(outputs, labels, reduction="none")
    else:
        losses = F.binary_cross_entropy_with_logits(outputs, labels, reduction="none").sum(1)
    return (weights * losses).sum()
