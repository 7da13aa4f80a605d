"""Clusters around centres: those of k-means, soft labels by distance, and the sharper ones they are trained towards."""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_positive
from convnn.ops import select
from convnn.ops.kmeans import means_of


class Clusters(NamedTuple):
    """What k-means finds.

    Attributes:
        labels: (N,) int64, the cluster of each row; (B, N) of a batch.
        centers: (K, D), the mean of each cluster; (B, K, D) of a batch.
    """

    labels: Tensor
    centers: Tensor


def k_means(features: Tensor, clusters: int, seed: int = 0, *, starts: int = 1) -> Clusters:
    """Return the clusters of the rows of features, by scikit-learn's `KMeans`, in float64.

    For the clustered search `convnn.ops.kmeans` has rounds that run on any device.

    Args:
        features: (N, D).
        clusters: K, at most N; of fewer distinct rows some stay empty.
        seed: of the starts, which are drawn as k-means++ does.
        starts: how many there are; the one with the least sum of squared distances counts.

    Raises:
        InputError: there are fewer rows than clusters, a feature is not finite, or a number is below 1.
    """
    from sklearn.cluster import KMeans  # takes a second to import

    check_at_least("clusters", clusters, 1)
    check_at_least("starts", starts, 1)
    if features.dim() != 2 or clusters > features.shape[0]:
        raise InputError(f"clusters={clusters} must be at most the rows of features of shape {tuple(features.shape)}")
    if not bool(features.isfinite().all()):
        raise InputError("features must be finite for k-means")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct rows than clusters leave some empty
        found = KMeans(clusters, n_init=starts, random_state=seed).fit(features.detach().cpu().double().numpy())
    labels, centers = torch.from_numpy(found.labels_).long(), torch.from_numpy(found.cluster_centers_)
    return Clusters(labels.to(features.device), centers.to(features))


@torch.no_grad()
def lloyd(points: Tensor, start: Tensor, *, rounds: int = 10) -> Clusters:
    """Return the clusters of the points of each image, by rounds of Lloyd's algorithm from given centres.

    Each round assigns every point to the nearest centre, of equally near ones to the first, and moves each centre to
    the mean of its points. A centre without points stays. The labels are of one more assignment, to the last centres.

    Args:
        points: (B, N, D). One that is not finite moves no centre.
        start: (B, K, D). A centre that is not finite has no points, as long as another is finite.
        rounds: number of rounds.

    Returns:
        Labels (B, N), and centres (B, K, D), without a gradient.

    Raises:
        InputError: shapes do not agree, or rounds is negative.
    """
    check_at_least("rounds", rounds, 0)
    centers = start
    for _ in range(rounds):
        labels = select.nearest(points, centers, 1, metric="euclidean").indices.squeeze(2)
        moved = means_of(points, labels, points.isfinite().all(2), centers)[0].to(start.dtype)
        if torch.equal(moved, centers):
            break
        centers = moved
    return Clusters(select.nearest(points, centers, 1, metric="euclidean").indices.squeeze(2), centers)


def student_t_assignment(features: Tensor, centers: Tensor, *, freedom: float = 1.0) -> Tensor:
    r"""Return how likely each sample belongs to each cluster, by Student's t-distribution around the centres.

    .. math:: q_{ik} = \frac{(1 + \lVert z_i - \mu_k \rVert^2 / \nu)^{-(\nu + 1) / 2}}
        {\sum_l (1 + \lVert z_i - \mu_l \rVert^2 / \nu)^{-(\nu + 1) / 2}}

    Args:
        features: z, (N, D).
        centers: mu, (K, D), mostly learned.
        freedom: nu, above 0; the tails are lighter the larger it is.

    Returns:
        (N, K), rows of which add up to 1.

    Raises:
        InputError: shapes do not agree, there is no centre, or freedom is not positive.

    Reference:
        Xie, Girshick and Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", arXiv 1511.06335, equation 1.

    Example:
        >>> student_t_assignment(torch.tensor([[0.0]]), torch.tensor([[0.0], [1.0]]))
        tensor([[0.6667, 0.3333]])
    """
    check_positive("freedom", freedom)
    if features.dim() != 2 or centers.dim() != 2 or features.shape[1] != centers.shape[1] or not centers.shape[0]:
        raise InputError(
            f"features of shape {tuple(features.shape)} and centers of shape {tuple(centers.shape)} must be (N, D) and"
            " (K, D), with K of at least 1"
        )
    distances = torch.cdist(features, centers, compute_mode="donot_use_mm_for_euclid_dist")  # exact near a centre
    return (-(freedom + 1) / 2 * torch.log1p(distances.square() / freedom)).softmax(1)


def target_distribution(assignment: Tensor, *, detach: bool = True) -> Tensor:
    r"""Return the sharpened soft labels that an assignment q is trained towards.

    .. math:: p_{ik} = \frac{q_{ik}^2 / f_k}{\sum_l q_{il}^2 / f_l}, \qquad f_k = \sum_i q_{ik}

    Likely clusters become likelier, and small ones do not vanish, because each counts by its share.

    Args:
        assignment: q, (N, K), not negative, with a positive entry in every row.
        detach: whether the result has no gradient, as targets usually have.

    Returns:
        (N, K), rows of which add up to 1.

    Raises:
        InputError: the assignment has another shape, a negative entry or a row of zeros.

    Reference:
        Xie, Girshick and Farhadi, arXiv 1511.06335, equation 3.
    """
    if assignment.dim() != 2 or not bool((assignment >= 0).all()) or not bool((assignment > 0).any(1).all()):
        raise InputError(
            f"assignment of shape {tuple(assignment.shape)} must be (N, K), not negative, with a positive entry in"
            " every row"
        )
    assignment = assignment.detach() if detach else assignment
    totals = assignment.sum(0)
    weights = assignment.square() / totals.masked_fill(totals == 0, 1)  # of a cluster that nobody has: 0
    return weights / weights.sum(1, keepdim=True)
