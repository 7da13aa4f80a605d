"""Neighbours in a graph as weighted positives, and clusters that sharpen themselves: SCGC."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.objectives.contrastive.engine import Pairs, check_rows
from convnn.objectives.contrastive.scores import Cosine
from convnn.ops.centroids import k_means, student_t_assignment, target_distribution
from convnn.ops.influence import influence_matrix


def neighbor_contrast(
    z: Tensor, weight: Tensor, *, tau: float = 1.0, eps: float = 1e-8, rows: int | None = None
) -> Tensor:
    r"""Return how small a part of each row's likeness goes to its neighbours.

    .. math:: -\frac{1}{N} \sum_i \log\Big( \frac{\sum_j w_{ij} e^{\tau s_{ij}}}{\sum_j e^{\tau s_{ij}}} + \epsilon
        \Big), \qquad s_{ij} = \cos(z_i, z_j), \quad s_{ii} = 0

    Both sums have j = i. Where rows of the weights add up to more than 1 the loss can be negative. A row of zeros costs
    the constant :math:`-\log \epsilon`, 18.4, without a gradient; so does every row if eps is large.

    Args:
        z: (N, d); a row of zeros scores 0 with everything.
        weight: (N, N) w, at least 0, such as `convnn.ops.influence.influence_matrix` returns. For a batch of nodes, its
            rows and columns of these.
        tau: factor of the cosine, above 0: the inverse of a temperature.
        eps: epsilon, at least 0; with 0, a row of zeros is infinite.
        rows: rows whose scores are alive at once, see `Pairs`.

    Returns:
        A number.

    Raises:
        InputError: shapes do not agree, a weight is negative or NaN, or tau or eps is out of range.

    Reference:
        Kulatilleke, Portmann and Chandra, arXiv 2204.12656; with the first power of the graph, the loss of Hu et al.,
        "Graph-MLP", arXiv 2106.04051.
    """
    check_rows("z", z)
    check_positive("tau", tau)
    check_not_negative("eps", eps)
    own = torch.arange(z.shape[0], device=z.device)
    pairs = Pairs(z, z, Cosine(1 / tau), own=own, own_score=0.0, rows=rows)
    return -(pairs.share(weight) + eps).log().mean()


def clustering_kl(assignment: Tensor) -> Tensor:
    r"""Return the divergence of soft labels q from their own sharpened targets p, which have no gradient.

    .. math:: \frac{1}{N} \sum_{ik} p_{ik} \log(p_{ik} / q_{ik})

    Args:
        assignment: q, (N, K), such as `student_t_assignment` returns; p is its `target_distribution`.

    Reference:
        Xie, Girshick and Farhadi, arXiv 1511.06335, equation 2.
    """
    return F.kl_div(assignment.log(), target_distribution(assignment), reduction="batchmean")


class Autoencoder(nn.Module):
    """Linear maps with ReLU between them to a code, and back in the opposite order.

    Args:
        in_channels: width F of the features.
        hidden: widths between.
        dim: width of the code.
        decodes: whether it has the way back.

    Shapes:
        x (N, F); output the code (N, dim), and the features (N, F) made of it, or None.
    """

    def __init__(
        self, in_channels: int, hidden: Sequence[int] = (500, 500, 2000), dim: int = 10, *, decodes: bool = True
    ) -> None:
        super().__init__()
        widths = [in_channels, *hidden, dim]
        self.encoder = _perceptron(widths)
        self.decoder = _perceptron(widths[::-1]) if decodes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the code, and the features made of it."""
        z = self.encoder(x)
        return z, None if self.decoder is None else self.decoder(z)


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class SCGCLoss(nn.Module):
    r"""Contrast of neighbours, :math:`\alpha L`, and of soft clusters with their targets, :math:`\beta D`.

    The centres of the clusters are learned. `start` puts them where k-means finds them.

    Args:
        n_clusters: K.
        dim: width of the embeddings.
        influence: (N, N) weights of the neighbours, see `neighbor_contrast`.
        tau: see `neighbor_contrast`.
        alpha: weight of the contrast.
        beta: weight of the clusters.
        freedom: degrees of freedom of the assignment, see `student_t_assignment`.

    Raises:
        InputError: a number is out of range, or there are more clusters than nodes.

    Reference:
        Kulatilleke, Portmann and Chandra, arXiv 2204.12656.
    """

    terms: ClassVar[tuple[str, ...]] = ("contrast", "clusters", "reconstruction")
    influence: Tensor

    def __init__(
        self,
        n_clusters: int,
        dim: int,
        influence: Tensor,
        *,
        tau: float = 1.0,
        alpha: float = 2.0,
        beta: float = 0.1,
        freedom: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least("n_clusters", n_clusters, 1)
        if n_clusters > influence.shape[0]:
            raise InputError(f"n_clusters={n_clusters} must be at most {influence.shape[0]}, the number of nodes")
        check_positive("tau", tau)
        check_positive("freedom", freedom)
        self.tau, self.alpha, self.beta, self.freedom = tau, alpha, beta, freedom
        self.register_buffer("influence", influence, persistent=False)
        self.centers = nn.Parameter(nn.init.xavier_normal_(influence.new_empty(n_clusters, dim)))

    @torch.no_grad()
    def start(self, z: Tensor, seed: int = 0) -> None:
        """Put the centres where k-means finds them among embeddings (N, dim), the best of 20 times."""
        self.centers.copy_(k_means(z, self.centers.shape[0], seed, starts=20).centers)

    def assign(self, z: Tensor) -> Tensor:
        """Return the soft labels (N, K) of embeddings (N, dim)."""
        return student_t_assignment(z, self.centers, freedom=self.freedom)

    def forward(self, z: Tensor, x: Tensor | None = None, decoded: Tensor | None = None) -> dict[str, Tensor]:
        """Map embeddings (N, dim) of all nodes to the terms of the loss by name, whose sum is to be minimised.

        Where features (N, F) and what is made of the embeddings are given, their mean squared difference is one.
        """
        terms = {
            "contrast": self.alpha * neighbor_contrast(z, self.influence, tau=self.tau),
            "clusters": self.beta * clustering_kl(self.assign(z)),
        }
        return terms if x is None or decoded is None else terms | {"reconstruction": F.mse_loss(decoded, x)}


class SCGC:
    r"""Cluster the nodes of a graph by a perceptron that never sees the edges, only the loss does.

    An autoencoder of the features is trained, then its encoder on `SCGCLoss`, all nodes at once; with `decodes`, the
    reconstruction stays in the loss. No label is read: all epochs are run, where the published scores are those of the
    epoch that is best by the true labels. The soft labels can collapse while the embedding improves: k-means of
    `embedding_` with rows of unit length then finds the better clusters.

    Args:
        n_clusters: K.
        network: the autoencoder, which is trained in place; None is `Autoencoder(F)` of the published widths.
        order: power of the graph, see `influence_matrix`.
        cumulative: whether powers are added up (SCGC*).
        decodes: whether the reconstruction stays in the loss (SCGC).
        tau, alpha, beta, freedom: see `SCGCLoss`.
        lr: learning rate of Adam.
        epochs: steps on the loss.
        pretraining: steps on the reconstruction before it; 0 if the network is trained already.
        pretraining_lr: their learning rate.
        seed: of the weights of a network that is made here, and of k-means.

    Attributes:
        network_: the trained network.
        labels_: (N,) int64, the likeliest cluster of each node.
        soft_labels_: (N, K) the probability of each.
        embedding_: (N, dim).
        terms_: the terms of the loss by name, of each epoch.

    Raises:
        InputError: a number is out of range; in `fit`, shapes do not agree, or the network cannot decode.

    Reference:
        Kulatilleke, Portmann and Chandra, arXiv 2204.12656.
    """

    network_: Autoencoder
    labels_: Tensor
    soft_labels_: Tensor
    embedding_: Tensor
    terms_: list[dict[str, float]]

    def __init__(
        self,
        n_clusters: int,
        network: Autoencoder | None = None,
        *,
        order: int = 2,
        cumulative: bool = True,
        decodes: bool = False,
        tau: float = 1.0,
        alpha: float = 2.0,
        beta: float = 0.1,
        freedom: float = 1.0,
        lr: float = 1e-3,
        epochs: int = 200,
        pretraining: int = 300,
        pretraining_lr: float = 3e-3,
        seed: int = 42,
    ) -> None:
        check_at_least("n_clusters", n_clusters, 1)
        check_at_least("order", order, 1)
        check_at_least("epochs", epochs, 0)
        check_at_least("pretraining", pretraining, 0)
        for name, value in (("tau", tau), ("freedom", freedom), ("lr", lr), ("pretraining_lr", pretraining_lr)):
            check_positive(name, value)
        self.n_clusters, self.network = n_clusters, network
        self.order, self.cumulative, self.decodes = order, cumulative, decodes
        self.tau, self.alpha, self.beta, self.freedom = tau, alpha, beta, freedom
        self.lr, self.epochs = lr, epochs
        self.pretraining, self.pretraining_lr, self.seed = pretraining, pretraining_lr, seed

    def fit(self, x: Tensor, edge_index: Tensor) -> "SCGC":
        """Cluster nodes with features (N, F), joined by edges (2, E) int64."""
        check_rows("x", x)
        influence = influence_matrix(edge_index, x.shape[0], self.order, cumulative=self.cumulative, dtype=x.dtype)
        network = self.network_ = self._network(x)
        self._pretrain(network, x)
        with torch.no_grad():
            z = network.encoder(x)
        weights = {"tau": self.tau, "alpha": self.alpha, "beta": self.beta, "freedom": self.freedom}
        loss = SCGCLoss(self.n_clusters, z.shape[1], influence, **weights).to(x.device)
        loss.start(z, self.seed)
        self.terms_ = []
        optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], self.lr)
        for _ in range(self.epochs):
            z, decoded = network(x)
            terms = loss(z, x, decoded) if self.decodes else loss(z)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
            self.terms_.append({name: term.item() for name, term in terms.items()})
        with torch.no_grad():
            self.embedding_ = network.encoder(x)
            self.soft_labels_ = loss.assign(self.embedding_)
        self.labels_ = self.soft_labels_.argmax(1)
        return self

    def fit_predict(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Cluster the nodes and return `labels_`."""
        return self.fit(x, edge_index).labels_

    def _network(self, x: Tensor) -> Autoencoder:
        network = self.network
        if network is None:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                network = Autoencoder(x.shape[1])
        if network.decoder is None and (self.decodes or self.pretraining):
            raise InputError("network must decode for pretraining or decodes=True; give pretraining=0")
        return network.to(device=x.device, dtype=x.dtype)

    def _pretrain(self, network: Autoencoder, x: Tensor) -> None:
        optimizer = torch.optim.Adam(network.parameters(), self.pretraining_lr)
        for _ in range(self.pretraining):
            _, decoded = network(x)
            optimizer.zero_grad()
            F.mse_loss(decoded, x).backward()
            optimizer.step()
