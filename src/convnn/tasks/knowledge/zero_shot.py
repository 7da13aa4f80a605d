r"""Classifiers of classes without an example: a graph of words carries those of the classes that have some.

Nodes are classes, inner ones of a hierarchy too. From the vectors of their words the network predicts the weights
that the last layer of a trained classifier has for a class; those of unseen classes are then used as if learned.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction, check_not_negative, check_positive
from convnn.nn import graphs
from convnn.ops.ragged import check_edges

NORMALIZE = ("none", "sum", "l2")
LEAST_SQUARE = 1e-12


class ZeroShotGCN(nn.Module):
    r"""Predict the classifier of each class by graph convolutions of word vectors.

    .. math:: H_{l+1} = \sigma(\hat A H_l W_l), \qquad \hat A = D^{-1/2} (A + I) D^{-1/2}

    with a leaky ReLU after all layers but the last, and rows of length 1 after that.

    Args:
        in_channels: k, size of word vectors.
        hidden_channels: sizes between the layers.
        out_channels: D, size of classifiers.
        negative_slope: of the leaky ReLU.
        dropout: probability before each of the last two layers; as published, 0.
        normalize: what is done to word vectors: "none"; "l2", length 1; or "sum", as published, divided by their sum,
            which is meant for counts and may flip the signs of vectors.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Wang, Ye and Gupta, "Zero-shot Recognition via Semantic Embeddings and Knowledge Graphs", arXiv 1803.08035.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: Sequence[int] = (2048, 2048, 1024, 1024, 512),
        *,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        normalize: str = "none",
    ) -> None:
        super().__init__()
        check_choice("normalize", normalize, NORMALIZE)
        check_fraction("dropout", dropout)
        sizes = [in_channels, *hidden_channels, out_channels]
        for size in sizes:
            check_at_least("channels", size, 1)
        self.layers = nn.ModuleList(nn.Linear(*some, bias=False) for some in pairwise(sizes))
        self.negative_slope, self.dropout, self.normalize = negative_slope, dropout, normalize
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights by Glorot's uniform distribution."""
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the predicted classifiers (N, D), of length 1; a row of zeros stays one.

        Args:
            x: (N, k) word vectors.
            edge_index: (2, E) int64, both directions of each edge; repeated ones count once.

        Raises:
            InputError: shapes or types are wrong, a node lies outside the graph, or an edge has no reverse.
        """
        if x.dim() != 2 or x.shape[1] != self.layers[0].in_features:
            raise InputError(f"x of shape {tuple(x.shape)} must be (N, {self.layers[0].in_features})")
        edges = _undirected(edge_index, x.shape[0])
        h, last = normalised(x, self.normalize), len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            if number >= last - 1:
                h = F.dropout(h, self.dropout, self.training)
            _, h = graphs.propagations(layer(h), edges, hops=1)
            h = F.leaky_relu(h, self.negative_slope) if number < last else _unit(h)
        return h


def normalised(x: Tensor, how: str) -> Tensor:
    """Return rows as they are ("none"), of length 1 ("l2"), or divided by their sum ("sum"); where that is 0, zeros."""
    check_choice("normalize", how, NORMALIZE)
    if how == "sum":
        total = x.sum(1, keepdim=True)
        return torch.where(total == 0, 0, x / total.masked_fill(total == 0, 1))
    return _unit(x) if how == "l2" else x


def zero_shot_loss(
    prediction: Tensor,
    target: Tensor,
    train_index: Tensor,
    weights: Sequence[Tensor] = (),
    *,
    weight_decay: float = 0.0,
) -> Tensor:
    r"""Return how far predicted classifiers are from those of the classes that have examples.

    .. math:: \frac{(N / n)^2}{2} \sum_{i \in T} \lVert H_i - V_i / \lVert V_i \rVert \rVert^2
        + \frac{\lambda}{2} \sum_l \lVert W_l \rVert_F^2

    Args:
        prediction: H (N, D), of length 1.
        target: V (N, D), classifiers; only the rows T are read.
        train_index: T (n,) int64, the classes that have examples.
        weights: W of all layers.
        weight_decay: lambda, at least 0.

    Raises:
        InputError: shapes do not agree, T is empty, repeats a class or has one that does not exist, a classifier is
            zero, or weight_decay is negative.
    """
    check_not_negative("weight_decay", weight_decay)
    if prediction.dim() != 2 or prediction.shape != target.shape:
        raise InputError(
            f"prediction of shape {tuple(prediction.shape)} and target of shape {tuple(target.shape)} must both be"
            " (N, D)"
        )
    nodes = prediction.shape[0]
    _check_classes("train_index", train_index, nodes)
    if train_index.unique().shape[0] < train_index.shape[0]:
        raise InputError("train_index must have each class once")
    chosen = target[train_index]
    if bool((chosen == 0).all(1).any()):
        row = int(train_index[(chosen == 0).all(1)][0])
        raise InputError(f"target of class {row}, which has examples, is all 0; leave it out of train_index")
    scale = (nodes / train_index.shape[0]) ** 2 / 2
    loss = scale * (prediction[train_index] - _unit(chosen)).square().sum()
    return loss + weight_decay / 2 * sum((w.square().sum() for w in weights), start=loss.new_zeros(()))


def zero_shot_hits(features: Tensor, labels: Tensor, weights: Tensor, candidates: Tensor, k: int) -> float:
    """Return the share of images whose class is among the k best candidates.

    Args:
        features: (M, D) of images.
        labels: (M,) int64, the class of each; one that is no candidate is never hit.
        weights: (N, D) classifiers.
        candidates: (C,) int64, the classes among which to choose: unseen ones, or all.
        k: how many; more than C counts as C.

    Raises:
        InputError: shapes do not agree, there is no image or no candidate, or a class does not exist.
    """
    check_at_least("k", k, 1)
    _check_classes("candidates", candidates, weights.shape[0])
    _check_classes("labels", labels, weights.shape[0])
    if features.shape != (labels.shape[0], weights.shape[1]):
        raise InputError(
            f"features of shape {tuple(features.shape)} must be {(labels.shape[0], weights.shape[1])}, a row for each"
            " label"
        )
    scores = features @ weights[candidates].T
    best = candidates[scores.topk(min(k, candidates.shape[0])).indices]
    return (best == labels[:, None]).any(1).double().mean().item()


class UnseenClasses:
    """Classifiers of unseen classes for a network of yours: fit those that it has, and predict the others.

    Args:
        word_vectors: (N, k) of all classes.
        edge_index: (2, E) int64, edges between them, both directions.
        hidden_channels, normalize: as in `ZeroShotGCN`.
        lr: learning rate of Adam.
        epochs: steps, each on all classes.
        weight_decay: at least 0.
        seed: seed of the weights at first.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        word_vectors: Tensor,
        edge_index: Tensor,
        *,
        hidden_channels: Sequence[int] = (512, 512),
        normalize: str = "none",
        lr: float = 1e-3,
        epochs: int = 300,
        weight_decay: float = 5e-4,
        seed: int = 0,
    ) -> None:
        check_positive("lr", lr)
        check_at_least("epochs", epochs, 1)
        check_not_negative("weight_decay", weight_decay)
        self.word_vectors, self.edge_index = word_vectors, _undirected(edge_index, word_vectors.shape[0])
        self.hidden_channels, self.normalize = hidden_channels, normalize
        self.lr, self.epochs, self.weight_decay, self.seed = lr, epochs, weight_decay, seed

    def fit(self, classifier_weight: Tensor, seen_index: Tensor) -> "UnseenClasses":
        """Learn from the classifiers (n, D) of the classes (n,) that have examples.

        Raises:
            InputError: as `zero_shot_loss`.
        """
        x = self.word_vectors
        _check_classes("seen_index", seen_index, x.shape[0])
        if classifier_weight.shape[:1] != seen_index.shape or classifier_weight.dim() != 2:
            raise InputError(
                f"classifier_weight of shape {tuple(classifier_weight.shape)} must have a row a seen class"
            )
        target = x.new_zeros(x.shape[0], classifier_weight.shape[1]).index_put((seen_index,), classifier_weight.to(x))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            sizes = x.shape[1], target.shape[1], self.hidden_channels
            self.network_ = ZeroShotGCN(*sizes, normalize=self.normalize).to(x)
        weights = list(self.network_.parameters())
        optimizer = torch.optim.Adam(weights, self.lr)
        for _ in range(self.epochs):
            optimizer.zero_grad()
            prediction = self.network_(x, self.edge_index)
            zero_shot_loss(prediction, target, seen_index, weights, weight_decay=self.weight_decay).backward()
            optimizer.step()
        return self

    @torch.no_grad()
    def predict_classifier(self, index: Tensor) -> Tensor:
        """Return the predicted classifiers (m, D) of classes (m,), of length 1.

        Raises:
            InputError: nothing was fitted yet, or a class does not exist.
        """
        if not hasattr(self, "network_"):
            raise InputError("predict_classifier needs classifiers to learn from; call fit first")
        _check_classes("index", index, self.word_vectors.shape[0])
        prediction: Tensor = self.network_(self.word_vectors, self.edge_index)[index]
        return prediction


def _unit(rows: Tensor) -> Tensor:
    return rows * rows.square().sum(1, keepdim=True).clamp_min(LEAST_SQUARE).rsqrt()


def _undirected(edge_index: Tensor, nodes: int) -> Tensor:
    """Return the different edges, of which each must have its reverse."""
    check_edges(edge_index, nodes)
    edges = edge_index.unique(dim=1) if edge_index.numel() else edge_index
    there, back = (nodes * source + target for source, target in (edges, edges.flip(0)))
    if bool((~torch.isin(back, there)).any()):
        raise InputError(
            "edge_index must have both directions of each edge; torch_geometric.utils.to_undirected adds them"
        )
    return edges


def _check_classes(name: str, index: Tensor, nodes: int) -> None:
    if index.dim() != 1 or index.dtype != torch.long or not index.shape[0]:
        raise InputError(
            f"{name} of shape {tuple(index.shape)} and {index.dtype} must be int64, with at least one class"
        )
    if not 0 <= int(index.min()) <= int(index.max()) < nodes:
        raise InputError(
            f"{name} has classes from {int(index.min())} to {int(index.max())}; they must lie between 0 and {nodes - 1}"
        )
