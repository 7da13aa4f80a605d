"""Learning on the nodes of a graph without labels, or with more labels than there are."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.data import Batch, LabelledData
from convnn.errors import InputError
from convnn.graphs.communities import (
    communal_attribute_voting,
    communal_edge_dropping,
    communal_edge_scores,
    community_strength,
    louvain_communities,
)
from convnn.graphs.views import complementary_views
from convnn.models.gnn import GNN
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.contrastive import CSGCLLoss, SCGCLoss
from convnn.objectives.self_training import (
    CrossView,
    GrowingLabels,
    HelperTask,
    cluster_pseudo_labels,
    completion_target,
    stage_quota,
)
from convnn.ops.influence import influence_matrix
from convnn.train.config import TrainConfig
from convnn.train.objective import Objective, Outcome


class OfNodes(Objective):
    """A scheme on all nodes of a graph, of which the training part has labels.

    Args:
        network: a stack of layers that ends in a linear map from the features of a node.
        config: flags of the run.
        data: nodes of one graph.
    """

    network: GNN

    def __init__(self, network: GNN, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config.criterion)
        assert isinstance(network.head, nn.Linear)  # as `make_objective` has checked
        self.width = network.head.in_features
        whole: Batch = next(iter(data.train))
        self.graph: GraphBatch = whole.inputs
        self.classes = data.num_classes
        self.labels = torch.full((len(self.graph.x),), -1, device=self.graph.x.device)
        self.labels[self.graph.nodes] = whole.labels

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of the nodes of a batch, without gradient."""
        logits: Tensor = self.network(batch.inputs)
        return logits


class Unlabelled(OfNodes):
    """A scheme without labels, which the linear map alone learns, from features that it does not change."""

    def learn(self, batch: Batch) -> Outcome:
        """Return the terms of the scheme, each as often as there are labelled nodes, and the criterion of the map."""
        graph: GraphBatch = batch.inputs
        z = self.network.embed(graph)
        logits = self.network.forward_head(z.detach()[graph.nodes])
        parts = {name: len(logits) * part for name, part in self.compare(graph, z).items()}
        parts["probe"] = self.criterion(logits, batch.labels)
        return Outcome.of(logits, parts)

    def compare(self, graph: GraphBatch, z: Tensor) -> dict[str, Tensor]:
        """Return the terms of the scheme, of the graph and the embeddings (N, F) of its nodes."""
        raise NotImplementedError


class CrossViews(Unlabelled):
    """CGCL: each half of the links is to be found from the other half; both halves make one step."""

    terms: ClassVar[tuple[str, ...]] = ("links", "probe")

    def __init__(self, network: GNN, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        self.scheme = CrossView(self.width)

    def compare(self, graph: GraphBatch, z: Tensor) -> dict[str, Tensor]:
        """Return the mean loss over both halves."""
        views = complementary_views(graph.edge_index)
        steps = list(self.scheme.steps(self.network, graph._replace(edge_weight=None), views))
        return {"links": torch.stack([step["links"] for step in steps]).mean()}


class NeighborContrast(Unlabelled):
    """SCGC: near nodes attract each other, as far as they influence each other, and clusters sharpen themselves."""

    terms: ClassVar[tuple[str, ...]] = ("contrast", "clusters", "probe")

    def __init__(self, network: GNN, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        x = self.graph.x
        influence = influence_matrix(
            self.graph.edge_index, len(x), config.influence_order, cumulative=True, dtype=x.dtype
        )
        weights = {"tau": config.cosine_factor, "alpha": config.contrast_weight, "beta": config.cluster_weight}
        self.scheme = SCGCLoss(self.classes, self.width, influence, **weights)

    def compare(self, graph: GraphBatch, z: Tensor) -> dict[str, Tensor]:
        """Return the contrast of neighbours and the divergence of clusters."""
        return dict(self.scheme(z))


class TeamUp(Unlabelled):
    """CSGCL: two views of each node attract each other; strong communities keep their edges and features, and count."""

    terms: ClassVar[tuple[str, ...]] = ("contrast", "probe")

    def __init__(self, network: GNN, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        edges = self.graph.edge_index
        community = louvain_communities(edges, len(self.graph.x), config.seed)
        of_communities, of_nodes = community_strength(edges, community)
        self.score = communal_edge_scores(edges, community, of_communities)
        self.strength = of_nodes.to(self.graph.x.dtype)
        rates = (two_shares(name, getattr(config, name)) for name in ("drop_edges", "drop_features"))
        self.rates = tuple(zip(*rates, strict=True))
        self.scheme = CSGCLLoss(
            self.width,
            self.strength,
            tau=config.contrast_temperature,
            start=config.team_up_start,
            largest=config.team_up,
        )
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        """Take note of the epoch, by which communities count more and more."""
        self.epoch = epoch - 1

    def compare(self, graph: GraphBatch, z: Tensor) -> dict[str, Tensor]:
        """Return the contrast of two views."""
        views = (self.network.embed(self._view(graph, *rates)) for rates in self.rates)
        return dict(self.scheme(*views, self.epoch))

    def _view(self, graph: GraphBatch, of_edges: float, of_features: float) -> GraphBatch:
        edges = communal_edge_dropping(graph.edge_index, self.score, of_edges).edge_index
        x = communal_attribute_voting(graph.x, self.strength, of_features).x
        return graph._replace(x=x, edge_index=edges, edge_weight=None)


class MoreLabels(OfNodes):
    """M3S: after each stage the surest nodes get labels; the same network learns on."""

    terms: ClassVar[tuple[str, ...]] = ("labels", "labelled_nodes")

    def __init__(self, network: GNN, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        edges, stages = self.graph.edge_index.shape[1], config.stages
        self.stages = stages
        quota = stage_quota(self.labels, edges, classes=self.classes, layers=len(network.layers), stages=stages)
        if not quota.any():
            raise InputError(
                f"--objective=m3s would add no label: what {len(network.layers)} layers see of each labelled node"
                " covers the graph already; lower --num_layers, or leave it out"
            )
        clusters = min(config.clusters, len(self.labels))
        self.scheme = GrowingLabels(self.labels, quota, clusters=clusters, seed=config.seed)
        self.epochs_a_stage = max(1, config.num_epochs // (stages + 1))

    def begin_epoch(self, epoch: int) -> None:
        """End a stage, if it is time."""
        if int(self.scheme.stage) < min(self.stages, (epoch - 1) // self.epochs_a_stage):
            self.scheme.advance(self.network, self.graph)

    def learn(self, batch: Batch) -> Outcome:
        """Return the cross-entropy of all nodes that have a label by now, as often as had one at first."""
        terms = {"labels": len(batch.labels) * self.scheme(self.network, self.graph)["labels"]}
        count = len(batch.labels) * (self.scheme.labels >= 0).sum().to(terms["labels"].dtype)
        return Outcome(
            terms["labels"], self.logits(batch), {"labels": terms["labels"].detach(), "labelled_nodes": count}
        )


class WithHelper(OfNodes):
    """SS-GCN: labels, and beside them a helper task that needs none: clustering, partitioning or completion."""

    terms: ClassVar[tuple[str, ...]] = ("labels", "helper")

    def __init__(self, network: GNN, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        task, x = config.objective, self.graph.x
        if task == "clustering":
            outputs, clusters = self.classes, min(config.clusters, len(x))
            target = cluster_pseudo_labels(x, self.labels, classes=outputs, clusters=clusters, seed=config.seed)
        elif task == "partitioning":
            outputs = config.parts
            target = partition(self.graph, outputs, config.seed)
        else:
            outputs = config.completion_dim
            if outputs > min(x.shape):
                raise InputError(
                    f"--completion_dim={outputs} must be at most {min(x.shape)}, the smaller of the number of"
                    " nodes and that of their features"
                )
            target = completion_target(x, outputs)
        weight = config.helper_weight
        self.scheme = HelperTask(task, self.width, target, self.labels, outputs=outputs, weight=weight)

    def learn(self, batch: Batch) -> Outcome:
        """Return the terms of labels and helper, each as often as there are labelled nodes."""
        parts = {name: len(batch.labels) * part for name, part in self.scheme(self.network, self.graph).items()}
        return Outcome.of(self.logits(batch), parts)


def two_shares(name: str, text: str) -> tuple[float, float]:
    """Return the shares, each at least 0 and below 1, that a flag gives for two views.

    Raises:
        InputError: there are not two of them, or one is out of range.
    """
    try:
        first, second = map(float, text.split(","))
        if 0 <= first < 1 and 0 <= second < 1:
            return first, second
    except ValueError:
        pass
    raise InputError(f"--{name}={text} must be two numbers of at least 0 and below 1, such as 0.3,0.4")


def partition(graph: GraphBatch, parts: int, seed: int) -> Tensor:
    """Return the part (N,) of each node, of a spectral clustering of the graph."""
    from scipy.sparse import coo_matrix
    from sklearn.cluster import SpectralClustering  # both take a while to import

    nodes, (source, target) = len(graph.x), graph.edge_index.cpu().numpy()
    if parts > nodes:
        raise InputError(f"--parts={parts} must be at most {nodes}, the number of nodes")
    ones = torch.ones(graph.edge_index.shape[1]).numpy()
    adjacency = coo_matrix((ones, (source, target)), (nodes, nodes))
    found = SpectralClustering(parts, affinity="precomputed", random_state=seed, assign_labels="cluster_qr")
    labels = found.fit_predict((adjacency + adjacency.T).tocsr())
    return torch.from_numpy(labels).to(graph.x.device, torch.long)


SCHEMES: dict[str, type[OfNodes]] = {
    "cgcl": CrossViews,
    "scgc": NeighborContrast,
    "csgcl": TeamUp,
    "m3s": MoreLabels,
    **dict.fromkeys(("clustering", "partitioning", "completion"), WithHelper),
}
