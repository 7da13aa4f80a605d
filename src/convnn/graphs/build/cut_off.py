"""How many neighbours each node keeps: as its label says, or a filter that has learned it (arXiv 2202.03800)."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_fraction, check_positive, check_rate
from convnn.graphs.build.structure import Ranked, check_lists, nearest_lists, structure_space


class Quality(NamedTuple):
    """How good the first m neighbours of each node are, m = 1, ..., K.

    Attributes:
        precision: (N, K), the share of them that have the node's label.
        recall: (N, K), the share of the nodes of that label that are among them.
        score: (N, K), both in one number.
    """

    precision: Tensor
    recall: Tensor
    score: Tensor


def prefix_quality(indices: Tensor, labels: Tensor, beta: float = 0.5) -> Quality:
    r"""Return precision, recall and their F-score of every beginning of the lists of neighbours.

    .. math:: Q = (1 + \beta^2) \frac{p r}{\beta^2 p + r}

    Args:
        indices: (N, K) int64, each list beginning with the node itself.
        labels: (N,) int64.
        beta: how much recall counts beside precision, above 0.

    Raises:
        InputError: a shape, type or value is wrong.
    """
    check_lists(indices)
    check_positive("beta", beta)
    nodes, K = indices.shape
    if labels.shape != (nodes,) or labels.dtype != torch.long:
        raise InputError(f"labels of shape {tuple(labels.shape)} and {labels.dtype} must be ({nodes},) int64")
    _, group, sizes = labels.unique(return_inverse=True, return_counts=True)
    right = (labels[indices] == labels[:, None]).cumsum(1).double()
    precision = right / torch.arange(1, K + 1, device=indices.device)
    recall = right / sizes[group, None]
    score = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
    return Quality(precision, recall, score)


def quality_cut(indices: Tensor, labels: Tensor, beta: float = 0.5) -> Tensor:
    """Return how many neighbours (N,) each node keeps at best: the fewest with the highest `prefix_quality`."""
    return prefix_quality(indices, labels, beta).score.argmax(1) + 1


class AdaptiveFilter(nn.Module):
    r"""Predict from the features of a node's neighbours which share of them it should keep.

    With the unit features X (K, F) of the neighbours, nearest first, and :math:`\bar v = v / \lVert v \rVert`,

    .. math::
        U = \frac{\mathrm{BiLSTM}(X) W_o^\top + b_o + X}{\sqrt 2}, \quad
        u = \overline{\tfrac{1}{K} \textstyle\sum_k \overline{U_k}}, \quad
        v = \frac{u + \mathrm{MLP}(u)}{\sqrt 2}, \quad \hat y = w^\top v + b

    where the MLP has two layers, each followed by PReLU and dropout.

    Args:
        in_channels: F.
        hidden_channels: width of the MLP.
        dropout: of the MLP, in [0, 1).

    Shapes:
        x (B, K, F); output (B,), which is not confined to (0, 1].

    Raises:
        InputError: an argument is out of range, or x is not (B, K, F).

    Reference:
        Ada-NETS, arXiv 2202.03800, and its code, whose dropout inside the LSTM of one layer has no effect.
    """

    def __init__(self, in_channels: int, hidden_channels: int = 512, *, dropout: float = 0.5) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("hidden_channels", hidden_channels, 1)
        check_rate("dropout", dropout)
        self.in_channels = in_channels
        self.lstm = nn.LSTM(in_channels, in_channels, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * in_channels, in_channels)
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.PReLU(hidden_channels),
            nn.Dropout(dropout),
            nn.Linear(hidden_channels, in_channels),
            nn.PReLU(in_channels),
            nn.Dropout(dropout),
        )
        self.predict = nn.Linear(in_channels, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return what the lists (B, K, F) have in common, u (B, F)."""
        if x.dim() != 3 or x.shape[2] != self.in_channels:
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, K, {self.in_channels}), a list for each node")
        mixed = (self.project(self.lstm(x)[0]) + x) / math.sqrt(2)
        return F.normalize(F.normalize(mixed, dim=2).mean(1), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map lists (B, K, F) to shares (B,)."""
        u = self.features(x)
        return self.predict((u + self.mlp(u)) / math.sqrt(2)).squeeze(1)

    @torch.no_grad()
    def cut(self, x: Tensor) -> Tensor:
        """Return how many neighbours (B,) to keep, 1 to K, in evaluation mode; halves are rounded to even."""
        was_training, K = self.training, x.shape[1]
        shares = self.eval()(x)
        self.train(was_training)
        return (shares * K).round().clamp(1, K).long()


def relative_huber(shares: Tensor, targets: Tensor) -> Tensor:
    r"""Return the mean Huber loss, with delta 1, of :math:`\hat y / y - 1`, where y is the share at best."""
    return F.huber_loss(shares / targets, torch.ones_like(shares))


def fit_filter(
    model: AdaptiveFilter,
    lists: Tensor,
    cuts: Tensor,
    *,
    steps: int = 40_000,
    batch_size: int = 1024,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 1e-5,
    warm_up: int = 128,
    generator: torch.Generator | None = None,
) -> AdaptiveFilter:
    """Train a filter by SGD on the `relative_huber` loss; the learning rate rises linearly, then falls along a cosine.

    Args:
        model: the filter, which is trained in place.
        lists: (N, K, F) unit features of the neighbours of each node, nearest first.
        cuts: (N,) int64, how many each node should keep, such as `quality_cut` returns.
        steps: number of steps.
        batch_size: nodes in a step, drawn with replacement.
        lr: the highest learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
        warm_up: steps in which the rate rises.
        generator: source of the batches; None is that of torch.

    Returns:
        The filter, in evaluation mode.

    Raises:
        InputError: cuts are not (N,) from 1 to K, or there is no step after warming up.

    Reference:
        Ada-NETS, arXiv 2202.03800, and its code.
    """
    if not 0 <= warm_up < steps:
        raise InputError(f"warm_up={warm_up} must be at least 0 and less than steps={steps}")
    targets = _cuts(cuts, lists.shape[0], lists.shape[1]).to(lists.dtype) / lists.shape[1]
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=momentum, weight_decay=weight_decay)

    def rate(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    for _ in range(steps):
        batch = torch.randint(lists.shape[0], (batch_size,), generator=generator)
        optimizer.zero_grad()
        relative_huber(model(lists[batch]), targets[batch]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def cut_edges(indices: Tensor, distances: Tensor, k: int | Tensor) -> tuple[Tensor, Tensor]:
    """Return the edges to each node from the first k of its list, itself not included, with weights 1 - d.

    Args:
        indices: (N, K) int64, each list beginning with the node itself.
        distances: (N, K), d; where it is 1 or more there is no edge (the published code stops with an error above 1).
        k: of all nodes, or (N,); from 1, no edge, to K. Other nodes may still choose a node that chooses none.

    Returns:
        edge_index (2, E), from neighbour to node, and edge_weight (E,).

    Raises:
        InputError: a shape, type or value is wrong.
    """
    check_lists(indices)
    nodes, K = indices.shape
    cuts = _cuts(torch.full((nodes,), k) if isinstance(k, int) else k, nodes, K).to(indices.device)
    is_kept = (torch.arange(K, device=indices.device) < cuts[:, None]) & (distances < 1)
    is_kept[:, 0] = False
    targets = torch.arange(nodes, device=indices.device)[:, None].expand(nodes, K)
    return torch.stack([indices[is_kept], targets[is_kept]]), 1 - distances[is_kept]


def symmetric_edges(
    edge_index: Tensor, edge_weight: Tensor, nodes: int, *, normalize: bool = True
) -> tuple[Tensor, Tensor]:
    r"""Return the edges in both directions, with the larger of both weights: :math:`S = \max(A, A^\top)`.

    Args:
        edge_index: (2, E).
        edge_weight: (E,), positive.
        nodes: N.
        normalize: add a loop of weight 1 at each node, and divide by the sum of the weights that enter it.

    Returns:
        Edges ordered by target and source, and weights.
    """
    sources, targets = edge_index.cpu().numpy()
    directed = csr_array((edge_weight.cpu().numpy(), (targets, sources)), shape=(nodes, nodes))
    both = directed.maximum(directed.T).tocsr()
    if normalize:
        both = (both + eye_array(nodes)).tocsr()
        both.data /= np.repeat(both.sum(1), np.diff(both.indptr))
    both.sort_indices()
    pairs = both.tocoo()
    edges = torch.from_numpy(np.stack([pairs.col, pairs.row]).astype(np.int64))
    return edges.to(edge_index.device), torch.from_numpy(pairs.data).to(edge_weight)


class AdaptiveNeighbors:
    """Join each node to as many of its nearest in the structure space as are worth it.

    Args:
        K: candidates of each node, itself included.
        lamb: see `structure_space`; 1 leaves the order by features.
        k: how many each node keeps, itself included: an int, (N,), an `AdaptiveFilter`, or None for all K. With lamb=1
            and None it is the symmetric graph of the K nearest.
        normalize: see `symmetric_edges`.
        method: see `nearest_lists`.

    Raises:
        InputError: an argument is out of range; when it is called, x is not as in `nearest_lists`.

    Reference:
        Ada-NETS, arXiv 2202.03800. The published scripts train the clustering network on the K nearest alone and test
        it on this graph; take the same for both.

    Example:
        >>> edges, weights = AdaptiveNeighbors(5, k=3)(torch.randn(20, 8))
    """

    def __init__(
        self,
        K: int = 80,
        lamb: float = 0.3,
        k: int | Tensor | AdaptiveFilter | None = None,
        *,
        normalize: bool = True,
        method: str = "exact",
    ) -> None:
        check_at_least("K", K, 1)
        check_fraction("lamb", lamb)
        if isinstance(k, int):
            _cuts(torch.tensor([k]), 1, K)
        self.K = K
        self.lamb = lamb
        self.k = k
        self.normalize = normalize
        self.method = method

    def ranked(self, x: Tensor) -> Ranked:
        """Return the K candidates of each row of x (N, F), nearest in the structure space first."""
        return structure_space(*nearest_lists(x, self.K, method=self.method), self.lamb)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return edge_index (2, E) and edge_weight (E,) of the graph of x (N, F)."""
        indices, distances = self.ranked(x)
        k = self.K if self.k is None else self.k
        if isinstance(k, AdaptiveFilter):
            k = k.cut(F.normalize(x, dim=1)[indices])
        edges, weights = cut_edges(indices, distances, k)
        return symmetric_edges(edges, weights.to(x.dtype), x.shape[0], normalize=self.normalize)


def _cuts(cuts: Tensor, nodes: int, K: int) -> Tensor:
    if cuts.shape != (nodes,) or cuts.dtype != torch.long:
        raise InputError(f"k of shape {tuple(cuts.shape)} and {cuts.dtype} must be ({nodes},) int64")
    if bool(((cuts < 1) | (cuts > K)).any()):
        wrong = int(cuts[(cuts < 1) | (cuts > K)][0])
        raise InputError(f"k has {wrong}; it must be from 1, the node itself, to {K}, the whole list")
    return cuts
