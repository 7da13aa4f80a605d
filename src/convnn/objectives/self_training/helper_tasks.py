"""Helper tasks that a network on a graph learns beside its labels, from features and edges alone (SS-GCN)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction, check_not_negative
from convnn.nn import graphs
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training._network import NodeNetwork
from convnn.objectives.self_training.pseudo_labels import align_clusters
from convnn.ops.centroids import k_means

TASKS = ("clustering", "partitioning", "completion")
COMPLETION_SCALE = 100
"""The factor of the published code on the error of a completion."""


def cluster_pseudo_labels(x: Tensor, labels: Tensor, *, classes: int, clusters: int = 200, seed: int = 0) -> Tensor:
    """Return the targets (N,) of node clustering: the class whose centroid is nearest to that of a node's cluster.

    Clusters are those of k-means on the features, and labelled nodes keep their class; see `align_clusters`.

    Args:
        x: (N, C) features of the nodes.
        labels: (N,) int64, -1 where a node has none.
        classes: number of classes.
        clusters: K, at most N.
        seed: of k-means.

    Raises:
        InputError: a class has no label, or an argument is out of range.

    Reference:
        You et al., "When Does Self-Supervision Help Graph Convolutional Networks?", arXiv 2006.09136.
    """
    return align_clusters(x, k_means(x, clusters, seed).labels, labels, classes=classes, members="all")


def completion_target(x: Tensor, k: int) -> Tensor:
    """Return the targets (N, k) of graph completion: the left singular vectors of the features, largest first.

    The largest entry of each by absolute value is positive. Vectors of equal singular values are not unique.

    Args:
        x: (N, C) features of the nodes.
        k: number of vectors, at most N and C.

    Raises:
        InputError: x has another shape, or k is out of range.

    Reference:
        You et al., arXiv 2006.09136.
    """
    check_at_least("k", k, 1)
    if x.dim() != 2 or k > min(x.shape):
        raise InputError(f"k={k} must be at most the sides of x, which has shape {tuple(x.shape)}")
    vectors = torch.linalg.svd(x, full_matrices=False).U[:, :k]
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return vectors * signs


def without_self(graph: GraphBatch) -> GraphBatch:
    """Return the graph with a loop of weight 0 at every node, so that GCN and the like do not add one of weight 1.

    A layer that adds no loop where there is one then sees the neighbours of a node without the node itself; the next
    layer sees it through them. It must read weights of edges, as GCN does and GAT does not.

    Raises:
        InputError: the graph has a loop.
    """
    edges, nodes = graph.edge_index, graph.x.shape[0]
    if bool((edges[0] == edges[1]).any()):
        raise InputError("graph.edge_index must not have loops for a graph without the nodes themselves")
    weight = graph.x.new_ones(edges.shape[1]) if graph.edge_weight is None else graph.edge_weight
    loops = torch.arange(nodes, device=edges.device).expand(2, -1)
    return graph._replace(
        edge_index=torch.cat([edges, loops], 1), edge_weight=torch.cat([weight, weight.new_zeros(nodes)])
    )


def helper_loss(task: str, output: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a helper task.

    Args:
        task: "clustering", the cross-entropy of the nodes without a label; "partitioning", that of all nodes; or
            "completion", 100 times the mean absolute error.
        output: (N, K) of the helper head.
        target: (N,) int64, classes or parts; of a completion (N, K).
        labels: (N,) int64, -1 where a node has none.

    Raises:
        InputError: the task is unknown, a shape or type is wrong, a target is out of range, or a clustering has no node
            without a label.

    Reference:
        You et al., arXiv 2006.09136, and its code.
    """
    _check_target(task, target, output.shape[1])
    if task == "completion":
        return COMPLETION_SCALE * (output - target).abs().mean()
    if task == "partitioning":
        return F.cross_entropy(output, target)
    free = labels < 0
    if not bool(free.any()):
        raise InputError("labels must leave a node without one for the task 'clustering'")
    return F.cross_entropy(output[free], target[free])


class HelperTask(nn.Module):
    r"""A scheme of training on labels and a helper task, which has a linear head of its own on the network's features.

    Clustering and partitioning share the loss with the labels, completion adds to it:

    .. math:: \lambda L_{\text{labels}} + (1 - \lambda) L_{\text{helper}}, \qquad
        L_{\text{labels}} + \lambda L_{\text{helper}}

    Args:
        task: "clustering", with targets such as `cluster_pseudo_labels` gives; "partitioning", with the parts of a
            partition of the graph; or "completion", with targets such as `completion_target` gives, for which the
            network reads the graph `without_self`.
        features: F, of the network's `embed`.
        target: (N,) int64 below `outputs`; of a completion (N, outputs).
        labels: (N,) int64, -1 where a node has none; at least one has.
        outputs: K, of the helper head: number of classes, parts or vectors.
        weight: lambda, 0 to 1; of a completion at least 0.

    Raises:
        InputError: an argument is out of range.

    Reference:
        You et al., "When Does Self-Supervision Help Graph Convolutional Networks?", arXiv 2006.09136. The code has
        another loss per task, and the factor 100 of a completion; it is followed. Its adversarial training is left out.
    """

    def __init__(
        self, task: str, features: int, target: Tensor, labels: Tensor, *, outputs: int, weight: float = 0.5
    ) -> None:
        super().__init__()
        check_choice("task", task, TASKS)
        check_at_least("outputs", outputs, 1)
        if task == "completion":
            check_not_negative("weight", weight)
        else:
            check_fraction("weight", weight)
        _check_target(task, target, outputs)
        if labels.shape != target.shape[:1] or labels.dtype != torch.long or not bool((labels >= 0).any()):
            raise InputError(
                f"labels of shape {tuple(labels.shape)} and {labels.dtype} must be ({target.shape[0]},) int64, -1 for"
                " nodes without, and one node must have one"
            )
        self.task, self.weight = task, weight
        self.head = nn.Linear(features, outputs, bias=False)
        self.register_buffer("target", target, persistent=False)
        self.register_buffer("labels", labels, persistent=False)

    target: Tensor
    labels: Tensor

    def steps(self, network: NodeNetwork, graph: GraphBatch) -> Iterator[dict[str, Tensor]]:
        """Yield the terms of the loss of the one step of an epoch; see `forward`."""
        yield self(network, graph)

    def forward(self, network: NodeNetwork, graph: GraphBatch) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, "labels" and "helper".

        The network reads the graph twice, so that dropout is drawn anew for the helper task.
        """
        known = self.labels >= 0
        logits = network.forward_head(network.embed(graph))
        output = self.head(network.embed(without_self(graph) if self.task == "completion" else graph))
        of_labels = F.cross_entropy(logits[known], self.labels[known])
        of_helper = helper_loss(self.task, output, self.target, self.labels)
        shares = (1.0, self.weight) if self.task == "completion" else (self.weight, 1 - self.weight)
        return {"labels": shares[0] * of_labels, "helper": shares[1] * of_helper}


class MultiTaskGCN(nn.Module):
    r"""The GCN of SS-GCN, without biases, whose last layer is split: `embed` propagates, and a head maps linearly.

    .. math:: h_l = \operatorname{drop}(\operatorname{ReLU}(S h_{l-1} W_l^\top)), \qquad
        z = S h_{L-1}, \qquad y = z W_L^\top

    Args:
        in_channels: of the features.
        num_classes: number of classes.
        hidden: channels of the layers but the last.
        dropout: probability, 0 to 1.

    Raises:
        InputError: an argument is out of range.

    Reference:
        You et al., arXiv 2006.09136.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, hidden: Sequence[int] = (16,), dropout: float = 0.5
    ) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        channels = [in_channels, *hidden]
        for name, width in (
            ("in_channels", in_channels),
            ("num_classes", num_classes),
            *(("hidden", w) for w in hidden),
        ):
            check_at_least(name, width, 1)
        self.layers = nn.ModuleList(graphs.GCN(i, o, bias=False) for i, o in pairwise(channels))
        self.last = graphs.GCN(channels[-1], channels[-1], bias=False)
        self.last.lin = nn.Identity()
        self.head = nn.Linear(channels[-1], num_classes, bias=False)
        self.dropout = dropout

    def embed(self, graph: GraphBatch) -> Tensor:
        """Return the features (N, hidden[-1]) that the heads read."""
        h = graph.x
        for layer in self.layers:
            h = F.dropout(F.relu(layer(h, graph.edge_index, graph.edge_weight)), self.dropout, self.training)
        features: Tensor = self.last(h, graph.edge_index, graph.edge_weight)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features (N, hidden[-1]) to logits (N, num_classes)."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, graph: GraphBatch) -> Tensor:
        """Map a graph to the logits (N, num_classes) of its nodes."""
        return self.forward_head(self.embed(graph))


def _check_target(task: str, target: Tensor, outputs: int) -> None:
    """Refuse targets that the task cannot have."""
    check_choice("task", task, TASKS)
    if task == "completion":
        if target.dim() != 2 or target.shape[1] != outputs or not target.is_floating_point():
            raise InputError(
                f"target of shape {tuple(target.shape)} and {target.dtype} must be floating and (N, {outputs})"
            )
        return
    if target.dim() != 1 or target.dtype != torch.long or not target.numel():
        raise InputError(f"target of shape {tuple(target.shape)} and {target.dtype} must be (N,) int64")
    least, most = int(target.min()), int(target.max())
    if least < 0 or most >= outputs:
        raise InputError(f"target from {least} to {most} must lie between 0 and {outputs - 1}, for {outputs} outputs")
