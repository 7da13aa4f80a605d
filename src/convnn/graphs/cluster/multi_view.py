"""Clusters of nodes that several views show, by an encoder for each and a consensus graph (VGMGC, arXiv 2210.07011)."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive
from convnn.graphs.build.consensus import (
    GraphGenerator,
    bernoulli_divergence,
    published_divergence,
    view_prior,
)
from convnn.ops.centroids import k_means, student_t_assignment, target_distribution

_MOST_PULL = 1000
"""The largest weight of the divergence of clusters."""


class View(NamedTuple):
    """What one view shows of N nodes.

    Attributes:
        x: (N, F) features that are read, each row over its sum.
        y: (N, F) features in [0, 1] that are rebuilt.
        propagation: (N, N), row i the weights by which node i reads its neighbours.
        adjacency: (N, N) of 0 and 1, the graph that is rebuilt.
    """

    x: Tensor
    y: Tensor
    propagation: Tensor
    adjacency: Tensor

    @classmethod
    def of(cls, features: Tensor, adjacency: Tensor) -> "View":
        """Return the view of features (N, F) in [0, 1] and a graph (N, N) of 0 and 1; rows that sum to 0 stay 0.

        Raises:
            InputError: a shape is wrong, or a value is out of range.
        """
        check_view(features, adjacency)
        return cls(_over_sums(features), features, _over_sums(adjacency), adjacency)


class Embedded(NamedTuple):
    """What the network makes of the views.

    Attributes:
        latent: of each view (N, L).
        views: the same with rows of length one.
        fused: (N, V L), these side by side, each times the weight of its view.
        scores: (N, N) of all pairs, from the generator.
        consensus: (N, N), the graph that all views read.
        x_shared: (N, F) features rebuilt by the generator.
    """

    latent: list[Tensor]
    views: list[Tensor]
    fused: Tensor
    scores: Tensor
    consensus: Tensor
    x_shared: Tensor


class ViewEncoder(nn.Module):
    r"""Embed the nodes of a view from its own graph and the consensus graph, and rebuild its features.

    .. math:: E \leftarrow \hat A E + X \;\text{(order times, from } X), \quad z = \mathrm{MLP}([E \| \lambda G]), \quad
        \hat X = \mathrm{sigmoid}(\mathrm{MLP}'(\mathrm{ReLU}(z)))

    where G is as E, by the consensus graph.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, latent_channels: int, *, order: int = 8, lam: float = 1.0
    ) -> None:
        super().__init__()
        check_at_least("order", order, 1)
        self.order, self.lam = order, lam
        self.encode = _mlp(2 * in_channels, hidden_channels, latent_channels)
        self.decode = _mlp(latent_channels, hidden_channels, in_channels)

    def forward(self, x: Tensor, propagation: Tensor, consensus: Tensor) -> Tensor:
        """Map features (N, F) to (N, L)."""
        own, agreed = (residual_propagation(x, graph, self.order) for graph in (propagation, consensus))
        return self.encode(torch.cat([own, self.lam * agreed], 1))

    def rebuild(self, z: Tensor) -> Tensor:
        """Map (N, L) to features (N, F) in (0, 1)."""
        return self.decode(z.relu()).sigmoid()


class MultiViewGraphClustering(nn.Module):
    r"""Cluster nodes of which there are several graphs and features, with a graph that all of them agree upon.

    A `GraphGenerator` scores all pairs from the features of all views; a `ViewEncoder` of each view reads its graph and
    the consensus graph. The clusters are those of k-means on the embeddings side by side.

    Args:
        in_channels: F of each view.
        clusters: C, at least 2 and at most N.
        shared_channels: width of the shared features; None is the sum of all views', which are put side by side.
        hidden_channels: width inside the MLPs.
        latent_channels: L.
        generator: `hidden_channels`, `latent_channels`, `temperature`, `threshold` and `dropout` of `GraphGenerator`.
        order: of the propagation, at least 1; published 8, or 10 or 1 by data set.
        lam: weight of the consensus graph in the encoders.
        min_belief, max_belief: between which the weights of views are believed, 0 <= min <= max <= 1.
        lam_kl: weight of what concerns graphs in the loss.
        kl_step: growth of the weight of the divergence of clusters in an epoch, up to 1000.
        power: exponent of the agreement of a view with all views in its weight.
        published: take the published loss: a divergence of graphs whose entropy has the wrong sign, and the error of
            the shared features counted once for the first view, twice for the second, ...

    Raises:
        InputError: an argument is out of range, or the views do not fit the network or each other.

    Reference:
        "Variational Graph Generator for Multi-View Graph Clustering", arXiv 2210.07011, and its code, which keeps the
        epoch of the best accuracy by the true labels, and stops by it; here the last epoch is kept.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        clusters: int,
        *,
        shared_channels: int | None = None,
        hidden_channels: int = 512,
        latent_channels: int = 512,
        generator: dict[str, float] | None = None,
        order: int = 8,
        lam: float = 1.0,
        min_belief: float = 0.7,
        max_belief: float = 0.99,
        lam_kl: float = 1.0,
        kl_step: float = 5.0,
        power: float = 0.9,
        published: bool = False,
    ) -> None:
        super().__init__()
        check_at_least("clusters", clusters, 2)
        if not in_channels:
            raise InputError("in_channels=() must be at least one number, the channels of each view")
        if not 0 <= min_belief <= max_belief <= 1:
            raise InputError(
                f"min_belief={min_belief} and max_belief={max_belief} must ascend, and lie between 0 and 1"
            )
        check_positive("power", power)
        self.in_channels, self.clusters = tuple(in_channels), clusters
        self.beliefs, self.lam_kl, self.kl_step, self.power = (min_belief, max_belief), lam_kl, kl_step, power
        self.published = published
        shared = sum(in_channels) if shared_channels is None else shared_channels
        self.generator = GraphGenerator(shared, **(generator or {}))  # type: ignore[arg-type]
        self.encoders = nn.ModuleList(
            ViewEncoder(width, hidden_channels, latent_channels, order=order, lam=lam) for width in in_channels
        )
        widths = [*([latent_channels] * len(in_channels)), latent_channels * len(in_channels)]
        self.centers = nn.ParameterList(nn.Parameter(torch.randn(clusters, width)) for width in widths)

    def forward(self, views: Sequence[View], x_shared: Tensor | None = None, weights: Tensor | None = None) -> Embedded:
        """Embed the nodes; None is the features of all views side by side, and weights (V,) of 1."""
        self._check(views)
        x_shared = torch.cat([view.x for view in views], 1) if x_shared is None else x_shared
        weights = views[0].x.new_ones(len(views)) if weights is None else weights
        scores, rebuilt = self.generator(x_shared)
        consensus = self.generator.hard(scores)  # without noise, in training too
        latent = [
            encoder(view.x, view.propagation, consensus) for encoder, view in zip(self.encoders, views, strict=True)
        ]
        each = [F.normalize(z, dim=1) for z in latent]
        fused = torch.cat([weight * z for weight, z in zip(weights, each, strict=True)], 1)
        return Embedded(latent, each, fused, scores, consensus, rebuilt)

    def assignments(self, embedded: Embedded) -> list[Tensor]:
        """Return how much each node belongs to each cluster, (N, C), by each view and by all of them."""
        return [
            student_t_assignment(z, c) for z, c in zip([*embedded.views, embedded.fused], self.centers, strict=True)
        ]

    def loss(
        self,
        views: Sequence[View],
        x_shared: Tensor | None = None,
        y_shared: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        noise: Tensor | None = None,
        pull: float = 0.0,
    ) -> dict[str, Tensor]:
        r"""Return the loss and its parts: "loss", "features", "graphs", "divergence" and "clusters".

        .. math::
            \sum_v \mathrm{BCE}(\hat X^v, Y^v) + \mathrm{BCE}(\hat X, Y)
            + \lambda_{kl} \Bigl( \mathrm{KL}(s \| p)
            + \sum_v \mathrm{BCE}(\mathrm{sigmoid}(z^v {z^v}^\top), A^v) \Bigr)
            + l \Bigl( \mathrm{KL}(t \| q) + \sum_v \mathrm{KL}(t \| q^v) \Bigr)

        with rows of z of length one, s the soft graph of the generator, p that of the views by `view_prior`, q the
        `student_t_assignment` of the fused embeddings, and t its `target_distribution`, which is differentiated too.
        X-hat is rebuilt from z before it is scaled.

        Args:
            views: of the nodes.
            x_shared: see `forward`.
            y_shared: (N, F) in [0, 1], what the generator rebuilds; None is those of all views side by side.
            weights: (V,) of the views; beliefs are these between `min_belief` and `max_belief`.
            noise: (N, N) uniform, see `concrete_sigmoid`.
            pull: l.
        """
        y_shared = torch.cat([view.y for view in views], 1) if y_shared is None else y_shared
        weights = views[0].x.new_ones(len(views)) if weights is None else weights
        embedded = self(views, x_shared, weights)
        of_shared = F.binary_cross_entropy(embedded.x_shared, y_shared)
        times = len(views) * (len(views) + 1) // 2 if self.published else 1
        features, graphs = times * of_shared, of_shared.new_zeros(())
        for encoder, view, latent, z in zip(self.encoders, views, embedded.latent, embedded.views, strict=True):
            features = features + F.binary_cross_entropy(cast(ViewEncoder, encoder).rebuild(latent), view.y)
            graphs = graphs + F.binary_cross_entropy((z @ z.T).sigmoid(), view.adjacency)
        divergence = self.divergence(embedded.scores, views, weights, noise)
        *each, fused = self.assignments(embedded)
        target = target_distribution(fused, detach=False)
        clusters = pull * sum(F.kl_div(q.log(), target, reduction="batchmean") for q in (fused, *each))
        loss = features + self.lam_kl * (divergence + graphs) + clusters
        return {
            "loss": loss,
            "features": features,
            "graphs": graphs,
            "divergence": divergence,
            "clusters": torch.as_tensor(clusters),
        }

    def divergence(self, scores: Tensor, views: Sequence[View], weights: Tensor, noise: Tensor | None) -> Tensor:
        """Return how far the soft graph of the generator is from the graphs of the views."""
        beliefs, soft = weights.clamp(*self.beliefs), self.generator.soft(scores, noise)
        prior = view_prior([view.adjacency for view in views], beliefs)
        if self.published:
            return published_divergence(soft, prior, beliefs)
        return bernoulli_divergence(soft, prior)

    def fit(
        self,
        views: Sequence[View],
        *,
        epochs: int = 100,
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        random_state: int = 0,
    ) -> "MultiViewGraphClustering":
        """Train by Adam on all nodes at once, from the centres of k-means; sets `weights_` and `losses_`.

        After each epoch the weights of the views are those of `agreement`; the next epoch uses them.
        """
        check_at_least("epochs", epochs, 1)
        self._check(views)
        random = torch.Generator().manual_seed(random_state)
        self._place_centers(views, random_state)
        optimizer = torch.optim.Adam(self.parameters(), lr, weight_decay=weight_decay)
        self.weights_ = views[0].x.new_ones(len(views))
        self.losses_: list[float] = []
        for epoch in range(epochs):
            self.train()
            noise = torch.rand(views[0].adjacency.shape, generator=random).to(views[0].adjacency)
            pull = min(self.kl_step * epoch, _MOST_PULL)
            loss = self.loss(views, weights=self.weights_, noise=noise, pull=pull)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses_.append(loss.item())
            with torch.no_grad():
                embedded = self.eval()(views, weights=self.weights_)
            self.weights_ = agreement(embedded, self.clusters, self.power, random_state).to(self.weights_)
        return self

    @torch.no_grad()
    def predict(self, views: Sequence[View], *, n_init: int = 100, random_state: int = 0) -> Tensor:
        """Return the cluster (N,) of each node by k-means of the fused embeddings, after `fit`."""
        embedded = self.eval()(views, weights=self.weights_)
        return k_means(embedded.fused, self.clusters, random_state, starts=n_init).labels

    def fit_predict(self, views: Sequence[View], *, random_state: int = 0, **settings: Any) -> Tensor:
        """Train, and return the cluster (N,) of each node; the settings are those of `fit`."""
        return self.fit(views, random_state=random_state, **settings).predict(views, random_state=random_state)

    @torch.no_grad()
    def _place_centers(self, views: Sequence[View], random_state: int) -> None:
        embedded = self.eval()(views)
        for center, z in zip(self.centers, [*embedded.views, embedded.fused], strict=True):
            center.copy_(k_means(z, self.clusters, random_state, starts=10).centers)

    def _check(self, views: Sequence[View]) -> None:
        widths, nodes = tuple(view.x.shape[1] for view in views), {view.x.shape[0] for view in views}
        if widths != self.in_channels:
            raise InputError(f"views have {widths} channels; they must have {self.in_channels}, as the network")
        shapes = {tuple(graph.shape) for view in views for graph in (view.propagation, view.adjacency)}
        if len(nodes) != 1 or shapes != {(*nodes, *nodes)}:
            raise InputError(
                f"views of {sorted(nodes)} nodes with graphs {sorted(shapes)} must all be of the same nodes"
            )
        if self.clusters > min(nodes):
            raise InputError(f"clusters={self.clusters} must be at most {min(nodes)}, the number of nodes")


def residual_propagation(x: Tensor, graph: Tensor, order: int) -> Tensor:
    r"""Return :math:`\sum_{k=0}^{order} A^k x` by repeating :math:`E \leftarrow A E + x`, for x (N, F) and A (N, N)."""
    out = x
    for _ in range(order):
        out = graph @ out + x
    return out


def agreement(embedded: Embedded, clusters: int, power: float, random_state: int = 0) -> Tensor:
    r"""Return the weights (V,) of views, :math:`r_v^{power}` over the largest of them.

    Here r is the normalised mutual information of the clusters that k-means finds in a view, and in all views fused.
    """
    labels, *of_views = (k_means(z, clusters, random_state, starts=3).labels for z in (embedded.fused, *embedded.views))
    shared = torch.tensor([normalized_mutual_info_score(labels, own) for own in of_views], dtype=torch.float64)
    return (shared / shared.max()) ** power if shared.max() > 0 else torch.ones_like(shared)


def check_view(features: Tensor, adjacency: Tensor) -> None:
    """Refuse what is no view.

    Raises:
        InputError: a shape is wrong, features are not in [0, 1], or the graph has other entries than 0 and 1.
    """
    if features.dim() != 2 or not features.is_floating_point():
        raise InputError(f"features of shape {tuple(features.shape)} and {features.dtype} must be floating and (N, F)")
    nodes = features.shape[0]
    if adjacency.shape != (nodes, nodes) or adjacency.dtype != features.dtype:
        raise InputError(
            f"adjacency of shape {tuple(adjacency.shape)} and {adjacency.dtype} must be ({nodes}, {nodes}), square, and"
            f" {features.dtype}, for {nodes} nodes"
        )
    if not bool(((features >= 0) & (features <= 1)).all()):
        raise InputError(
            f"features from {features.min().item():.3g} to {features.max().item():.3g} must lie between 0 and 1, since"
            " they are rebuilt as probabilities"
        )
    if not bool(((adjacency == 0) | (adjacency == 1)).all()):
        raise InputError("adjacency must have 0 and 1 alone")


def _over_sums(rows: Tensor) -> Tensor:
    sums = rows.sum(1, keepdim=True)
    return torch.where(sums > 0, rows / sums, torch.zeros_like(rows))


def _mlp(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    for name, value in (("in", in_channels), ("hidden", hidden_channels), ("latent", out_channels)):
        check_at_least(f"{name}_channels", value, 1)
    return nn.Sequential(nn.Linear(in_channels, hidden_channels), nn.ReLU(), nn.Linear(hidden_channels, out_channels))
