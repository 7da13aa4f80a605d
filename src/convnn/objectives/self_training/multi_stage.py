"""Training in stages, between which a network's surest nodes get labels if their clusters agree (M3S)."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training._network import NodeNetwork, check_labels
from convnn.objectives.self_training.pseudo_labels import align_clusters, select_confident, stage_quota
from convnn.ops.centroids import k_means


class GrowingLabels(nn.Module):
    """A scheme of training on labels of which every stage adds some.

    Within a stage, the loss is the cross-entropy of the nodes that have a label; `advance` ends it.

    Args:
        labels: (N,) int64, -1 where a node has none.
        quota: (C,) up to how many nodes of each class a stage adds, such as `stage_quota` gives.
        clusters: K, at most N, of k-means; not read without `check`.
        check: add only nodes whose cluster is aligned with the class that the network gives them; otherwise this is
            multi-stage self-training.
        seed: of k-means.

    Attributes:
        labels: (N,) int64, -1 where a node has none; a buffer, so that it is saved with the scheme.
        stage: number of stages that have ended.

    Raises:
        InputError: a class has no label, or an argument is out of range.

    Reference:
        Li et al., "Multi-Stage Self-Supervised Learning for Graph Convolutional Networks on Graphs with Few Labeled
        Nodes", arXiv 1902.11038; details, such as that k-means is of all nodes on the sphere, are those of
        github.com/Junseok0207/M3S_Pytorch, which the authors recommend.
    """

    labels: Tensor
    quota: Tensor
    stage: Tensor

    def __init__(
        self, labels: Tensor, quota: Tensor, *, clusters: int = 200, check: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        check_labels(labels, quota.shape[0])
        check_at_least("clusters", clusters, 1)
        if check and clusters > labels.shape[0]:
            raise InputError(f"clusters={clusters} must be at most {labels.shape[0]}, the number of nodes")
        if quota.dim() != 1 or not bool((quota >= 0).all()):
            raise InputError(f"quota={quota.tolist()} must be a number of at least 0 for each class")
        if not bool(quota.any()):
            warnings.warn("quota is 0 for all classes, so that no stage adds a label", stacklevel=2)
        self.clusters, self.check, self.seed = clusters, check, seed
        self.register_buffer("labels", labels.clone())
        self.register_buffer("quota", quota, persistent=False)
        self.register_buffer("stage", torch.zeros((), dtype=torch.long))

    def steps(self, network: NodeNetwork, graph: GraphBatch) -> Iterator[dict[str, Tensor]]:
        """Yield the terms of the loss of the one step of an epoch; see `forward`."""
        yield self(network, graph)

    def forward(self, network: NodeNetwork, graph: GraphBatch) -> dict[str, Tensor]:
        """Return the term of the loss, "labels"."""
        known = self.labels >= 0
        logits = network.forward_head(network.embed(graph))
        return {"labels": F.cross_entropy(logits[known], self.labels[known])}

    @torch.no_grad()
    def advance(self, network: NodeNetwork, graph: GraphBatch, clusters: Tensor | None = None) -> int:
        """End a stage: give labels to the surest nodes, by the network as it is in inference.

        A network and an optimizer that are made anew then begin the next stage.

        Args:
            network: the trained network.
            graph: the graph.
            clusters: (N,) int64, instead of those of k-means.

        Returns:
            How many nodes got a label.
        """
        was_training = network.training
        network.train(False)
        embedded = network.embed(graph)
        features, probabilities = F.normalize(embedded), network.forward_head(embedded).softmax(1)
        network.train(was_training)
        opinion = None
        if self.check:
            if clusters is None:
                clusters = k_means(features, self.clusters, self.seed + int(self.stage)).labels
            opinion = align_clusters(features, clusters, self.labels, classes=self.quota.shape[0])
        nodes, given = select_confident(probabilities, self.labels, self.quota, check=opinion)
        self.labels[nodes] = given
        self.stage += 1
        return nodes.numel()


class M3S:
    """Multi-stage self-training of a network on a graph with few labels.

    Args:
        make: function that returns a new network, such as a `GNN` with `linear_head`; each stage begins with one.
        classes: C.
        stages: S; 0 is plain training.
        clusters: K, of k-means.
        check: as in `GrowingLabels`.
        layers: L, of the network, for the quota.
        quota: (C,) up to how many nodes of each class a stage adds; None is `stage_quota`.
        epochs: steps of Adam, on the whole graph, in each stage.
        last_epochs: further steps, on the final labels, after the last stage.
        patience: how many of these may pass without a better validation accuracy.
        lr: learning rate.
        weight_decay: of Adam.
        seed: of k-means; networks and dropout are drawn by torch.

    Attributes:
        network_: the network, as it was at the best validation accuracy if there are labels to validate by.
        labels_: (N,) int64, the labels at the end, -1 where a node has none.
        added_: how many nodes got a label in each stage.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Li et al., arXiv 1902.11038, with the defaults of github.com/Junseok0207/M3S_Pytorch.
    """

    def __init__(
        self,
        make: Callable[[], NodeNetwork],
        classes: int,
        *,
        stages: int = 5,
        clusters: int = 200,
        check: bool = True,
        layers: int = 2,
        quota: Tensor | None = None,
        epochs: int = 200,
        last_epochs: int = 1000,
        patience: int = 200,
        lr: float = 0.01,
        weight_decay: float = 1e-5,
        seed: int = 0,
    ) -> None:
        for name, value in (("classes", classes), ("patience", patience)):
            check_at_least(name, value, 1)
        for name, value in (("stages", stages), ("epochs", epochs), ("last_epochs", last_epochs)):
            check_at_least(name, value, 0)
        check_positive("lr", lr)
        self.make, self.classes, self.stages, self.clusters, self.check = make, classes, stages, clusters, check
        self.layers, self.quota, self.epochs, self.last_epochs = layers, quota, epochs, last_epochs
        self.patience, self.lr, self.weight_decay, self.seed = patience, lr, weight_decay, seed

    def fit(self, graph: GraphBatch, labels: Tensor, valid: Tensor | None = None) -> "M3S":
        """Train on a graph.

        Args:
            graph: the whole graph.
            labels: (N,) int64, -1 where a node has none or it must not be seen.
            valid: (N,) int64, labels to validate by, -1 elsewhere; None takes the last network.

        Raises:
            InputError: a class has no label, or labels do not fit.
        """
        scheme = self._scheme(graph, labels)
        network, optimizer = self._begin()
        self.added_: list[int] = []
        for stage in range(self.stages):
            if stage:
                network, optimizer = self._begin()
            for _ in range(self.epochs):
                _step(scheme, network, graph, optimizer)
            self.added_.append(scheme.advance(network, graph))
        self._finish(scheme, network, graph, optimizer, valid)
        self.network_, self.labels_ = network, scheme.labels
        return self

    def predict(self, graph: GraphBatch) -> Tensor:
        """Return the class (N,) of each node, by the trained network."""
        return _predict(self.network_, graph)

    def _scheme(self, graph: GraphBatch, labels: Tensor) -> GrowingLabels:
        if not self.stages:
            return GrowingLabels(labels, torch.ones(self.classes), check=False)  # which never advances
        quota, edges = self.quota, graph.edge_index.shape[1]
        if quota is None:
            quota = stage_quota(labels, edges, classes=self.classes, layers=self.layers, stages=self.stages)
        return GrowingLabels(labels, quota, clusters=self.clusters, check=self.check, seed=self.seed)

    def _begin(self) -> tuple[NodeNetwork, torch.optim.Optimizer]:
        network = self.make()
        return network, torch.optim.Adam(network.parameters(), self.lr, weight_decay=self.weight_decay)

    def _finish(
        self,
        scheme: GrowingLabels,
        network: NodeNetwork,
        graph: GraphBatch,
        optimizer: torch.optim.Optimizer,
        valid: Tensor | None,
    ) -> None:
        """Train on the final labels, and leave the network as it was at the best validation accuracy."""
        best, since, kept = -math.inf, 0, None
        for _ in range(self.last_epochs):
            _step(scheme, network, graph, optimizer)
            if valid is None:
                continue
            right = (_predict(network, graph) == valid)[valid >= 0].double().mean().item()
            since += 1
            if right > best:
                best, since, kept = right, 0, copy.deepcopy(network.state_dict())
            if since >= self.patience:
                break
        if kept is not None:
            network.load_state_dict(kept)


def _step(scheme: GrowingLabels, network: NodeNetwork, graph: GraphBatch, optimizer: torch.optim.Optimizer) -> None:
    network.train(True)
    for terms in scheme.steps(network, graph):
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()


@torch.no_grad()
def _predict(network: NodeNetwork, graph: GraphBatch) -> Tensor:
    network.train(False)
    return network.forward_head(network.embed(graph)).argmax(1)
