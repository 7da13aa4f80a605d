"""How well clusters agree with labels, pair by pair and point by point."""

from typing import NamedTuple

from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix, pair_confusion_matrix
from torch import Tensor

from convnn.errors import InputError


class Scores(NamedTuple):
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f: float


def pairwise_scores(labels: Tensor, clusters: Tensor) -> Scores:
    """Return the share of the pairs in one cluster that have one label, and of those of one label in one cluster.

    Where there are no such pairs a share is 1.

    Raises:
        InputError: labels and clusters are not two lists of the same length.
    """
    _check(labels, clusters)
    (_, wrong), (lost, right) = pair_confusion_matrix(labels.cpu().numpy(), clusters.cpu().numpy())
    return _scores(*(float(right / of) if (of := right + rest) else 1.0 for rest in (wrong, lost)))


def b_cubed_scores(labels: Tensor, clusters: Tensor) -> Scores:
    """Return means over points: the share of its cluster that has its label, and of its label that is in its cluster.

    Raises:
        InputError: labels and clusters are not two lists of the same length, of at least one point.
    """
    _check(labels, clusters)
    counts = contingency_matrix(labels.cpu().numpy(), clusters.cpu().numpy()).astype(float)
    total = counts.sum()
    return _scores(*(float((counts**2 / counts.sum(axis, keepdims=True)).sum() / total) for axis in (0, 1)))


def matched_accuracy(labels: Tensor, clusters: Tensor) -> float:
    """Return the share of points that are right if each cluster is named after one label, as well as can be.

    Raises:
        InputError: labels and clusters are not two lists of the same length, of at least one point.
    """
    _check(labels, clusters)
    counts = contingency_matrix(labels.cpu().numpy(), clusters.cpu().numpy())
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def _scores(precision: float, recall: float) -> Scores:
    both = precision + recall
    return Scores(precision, recall, 2 * precision * recall / both if both else 0.0)


def _check(labels: Tensor, clusters: Tensor) -> None:
    if labels.dim() != 1 or labels.shape != clusters.shape or not labels.numel():
        raise InputError(
            f"labels of shape {tuple(labels.shape)} and clusters of shape {tuple(clusters.shape)} must both be (N,)"
        )
