"""What representations, clusters and predicted links are worth, as scikit-learn and scipy measure it.

The figures need true labels. They are for the report: a step, a setting or a run that is chosen by them has seen the
answers, and its figure means nothing.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_positive

METRICS = ("cosine", "euclidean")


def knn_probe(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    k: int = 20,
    metric: str = "cosine",
) -> float:
    """Return the share of test rows whose label is that of most of their k nearest training rows.

    Args:
        features: (N, D) training rows.
        labels: (N,) int64.
        test_features: (M, D).
        test_labels: (M,) int64.
        k: number of neighbours, 1 to N.
        metric: "cosine" or "euclidean".

    Returns:
        0 to 1. Of labels with equally many neighbours the smallest counts.

    Raises:
        InputError: shapes or types do not agree, a feature is not finite, or k or the metric is out of range.

    Reference:
        `sklearn.neighbors.KNeighborsClassifier`.

    Example:
        >>> rows, labels = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([4, 7])
        >>> knn_probe(rows, labels, torch.tensor([[2.0, 1], [1, 3]]), labels, k=1)
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    check_choice("metric", metric, METRICS)
    check_at_least("k", k, 1)
    if k > features.shape[0]:
        raise InputError(f"k={k} must be at most {features.shape[0]}, the number of training rows")
    rows = _probed(features, labels, test_features, test_labels)
    return float(KNeighborsClassifier(k, metric=metric).fit(*rows[:2]).score(*rows[2:]))


def linear_probe(
    features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor, *, decay: float = 1.0
) -> float:
    r"""Return the share of test rows that multinomial logistic regression on the training rows gets right.

    Features are first standardised with mean and deviation of the training rows; then

    .. math:: \min_{W, b} \sum_i -\log \operatorname{softmax}(W x_i + b)_{y_i} + \frac{\lambda}{2} \lVert W \rVert^2

    Args:
        features: (N, D) training rows.
        labels: (N,) int64, of at least two classes.
        test_features: (M, D).
        test_labels: (M,) int64.
        decay: lambda, above 0.

    Returns:
        0 to 1.

    Raises:
        InputError: shapes or types do not agree, a feature is not finite, there is only one class, or decay is not
            positive.

    Reference:
        `sklearn.linear_model.LogisticRegression`, whose C is 1 / lambda.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_positive("decay", decay)
    rows = _probed(features, labels, test_features, test_labels)
    if labels.unique().numel() < 2:
        raise InputError(f"labels must have at least two classes, and are all {int(labels[0])}")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / decay, max_iter=1000))
    return float(probe.fit(*rows[:2]).score(*rows[2:]))


def normalized_mutual_information(labels: Tensor, clusters: Tensor) -> float:
    r"""Return :math:`2 I(y; c) / (H(y) + H(c))` of labels and clusters, both (N,) int64.

    It lies between 0 and 1, and is 1 where they agree up to names.

    Raises:
        InputError: shapes or types do not agree, or there is no sample.

    Reference:
        `sklearn.metrics.normalized_mutual_info_score`.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(*_partitions(labels, clusters)))


def adjusted_rand_index(labels: Tensor, clusters: Tensor) -> float:
    """Return the share of pairs on which labels and clusters, both (N,) int64, agree, adjusted for chance.

    Returns:
        1 where they agree up to names, 0 in the mean over random clusters, at least -0.5.

    Raises:
        InputError: shapes or types do not agree, or there is no sample.

    Reference:
        `sklearn.metrics.adjusted_rand_score`.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_partitions(labels, clusters)))


def clustering_accuracy(labels: Tensor, clusters: Tensor) -> float:
    """Return the share of samples that are right when clusters are matched with labels, one with one, in the best way.

    Args:
        labels: (N,) int64.
        clusters: (N,) int64; of more clusters than labels some are matched with none, and all of theirs is wrong.

    Returns:
        0 to 1.

    Raises:
        InputError: shapes or types do not agree, or there is no sample.

    Reference:
        `scipy.optimize.linear_sum_assignment`, the Hungarian assignment.

    Example:
        >>> clustering_accuracy(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 5, 3]))
        0.75
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(*_partitions(labels, clusters))
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


class Agreement(NamedTuple):
    """How well clusters agree with labels: precision, recall and their harmonic mean, each 0 to 1."""

    precision: float
    recall: float
    f: float


def pairwise_scores(labels: Tensor, clusters: Tensor) -> Agreement:
    """Return the share of the pairs in one cluster that have one label, and of those of one label in one cluster.

    Where there are no such pairs a share is 1.

    Raises:
        InputError: shapes or types do not agree, or there is no sample.

    Reference:
        `sklearn.metrics.cluster.pair_confusion_matrix`.
    """
    from sklearn.metrics.cluster import pair_confusion_matrix

    (_, wrong), (lost, right) = pair_confusion_matrix(*_partitions(labels, clusters))
    return _agreement(*(float(right / of) if (of := right + rest) else 1.0 for rest in (wrong, lost)))


def b_cubed_scores(labels: Tensor, clusters: Tensor) -> Agreement:
    """Return means over samples: the share of its cluster that has its label, and of its label that is in its cluster.

    Raises:
        InputError: shapes or types do not agree, or there is no sample.

    Reference:
        Bagga and Baldwin, "Entity-Based Cross-Document Coreferencing Using the Vector Space Model", COLING 1998.
    """
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(*_partitions(labels, clusters)).astype(float)
    shares = ((counts**2 / counts.sum(axis, keepdims=True)).sum() / len(labels) for axis in (0, 1))
    return _agreement(*map(float, shares))


def _agreement(precision: float, recall: float) -> Agreement:
    both = precision + recall
    return Agreement(precision, recall, 2 * precision * recall / both if both else 0.0)


def link_auc(positives: Tensor, negatives: Tensor) -> float:
    """Return the share of pairs in which a link that is there scores above one that is not; a tie counts one half.

    Args:
        positives: (P,) scores of links that are there.
        negatives: (Q,) scores of links that are not.

    Raises:
        InputError: a shape or type is wrong, there are none of one kind, or a score is not finite.

    Reference:
        The area under the ROC curve, `sklearn.metrics.roc_auc_score`.

    Example:
        >>> link_auc(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0]))
        0.75
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_links(positives, negatives)))


def link_average_precision(positives: Tensor, negatives: Tensor) -> float:
    r"""Return :math:`\sum_n (R_n - R_{n-1}) P_n` over falling thresholds; arguments and errors as in `link_auc`.

    P is the precision at a threshold and R the recall.

    Reference:
        `sklearn.metrics.average_precision_score`.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_links(positives, negatives)))


def _probed(features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor) -> list[Any]:
    """Return training and test rows as arrays."""
    parts = (("features", features, "labels", labels), ("test_features", test_features, "test_labels", test_labels))
    for name, rows, of_labels, numbers in parts:
        if rows.dim() != 2 or rows.shape[1] != features.shape[-1] or not rows.is_floating_point() or not rows.numel():
            raise InputError(
                f"{name} of shape {tuple(rows.shape)} and {rows.dtype} must be floating rows of {features.shape[-1]}"
                " features"
            )
        if not bool(rows.isfinite().all()):
            raise InputError(f"{name} must be finite, and row {int((~rows.isfinite()).any(1).nonzero()[0])} is not")
        if numbers.shape != rows.shape[:1] or numbers.dtype != torch.long:
            raise InputError(
                f"{of_labels} of shape {tuple(numbers.shape)} and {numbers.dtype} must be ({rows.shape[0]},) int64"
            )
    return [_array(part) for part in (features, labels, test_features, test_labels)]


def _partitions(labels: Tensor, clusters: Tensor) -> list[Any]:
    for name, numbers in (("labels", labels), ("clusters", clusters)):
        if numbers.dim() != 1 or numbers.dtype != torch.long or not numbers.numel():
            raise InputError(f"{name} of shape {tuple(numbers.shape)} and {numbers.dtype} must be (N,) int64, N >= 1")
    if labels.shape != clusters.shape:
        raise InputError(f"clusters of shape {tuple(clusters.shape)} must be {tuple(labels.shape)}, as labels are")
    return [_array(labels), _array(clusters)]


def _links(positives: Tensor, negatives: Tensor) -> tuple[Any, Any]:
    """Return which links are there, and their scores."""
    for name, scores in (("positives", positives), ("negatives", negatives)):
        if scores.dim() != 1 or not scores.is_floating_point() or not scores.numel():
            raise InputError(
                f"{name} of shape {tuple(scores.shape)} and {scores.dtype} must be floating and (P,), P >= 1"
            )
        if not bool(scores.isfinite().all()):
            raise InputError(f"{name} must be finite, and number {int((~scores.isfinite()).nonzero()[0])} is not")
    there = torch.cat([torch.ones_like(positives), torch.zeros_like(negatives)])
    return _array(there), _array(torch.cat([positives, negatives]))


def _array(values: Tensor) -> Any:
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()
