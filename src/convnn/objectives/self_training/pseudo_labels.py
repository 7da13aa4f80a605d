"""Labels for nodes that have none: by the classes whose centroids are nearest, and by a network's confidence."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.objectives.self_training._network import UNLABELLED, check_labels

MEMBERS = ("unlabelled", "all")


def stage_quota(labels: Tensor, edges: int, *, classes: int, layers: int, stages: int) -> Tensor:
    r"""Return up to how many nodes of each class get a label in a stage, (C,) float64, which may be fractions.

    .. math:: t_j = \Big\lfloor \frac{3 \eta n_j}{n} \Big\rfloor \Big/ S, \qquad \eta = \frac{N}{(E / N)^L}

    eta is about how often the neighbourhoods that L layers see would have to be laid side by side to cover the graph.

    Args:
        labels: (N,) int64, -1 where a node has none; n_j of class j, n in all.
        edges: E, number of directed edges.
        classes: C.
        layers: L, of the network.
        stages: S.

    Returns:
        0 for all classes where the neighbourhoods cover the graph three times; then no stage adds a label.

    Raises:
        InputError: a class has no label, there is no edge, or a number is out of range.

    Reference:
        Li et al., "Multi-Stage Self-Supervised Learning for Graph Convolutional Networks on Graphs with Few Labeled
        Nodes", arXiv 1902.11038.

    Example:
        >>> stage_quota(torch.tensor([0, 1, 1, -1, -1, -1]), 6, classes=2, layers=2, stages=4)
        tensor([1.5000, 3.0000], dtype=torch.float64)
    """
    for name, value in (("edges", edges), ("layers", layers), ("stages", stages)):
        check_at_least(name, value, 1)
    check_labels(labels, classes)
    nodes, counts = labels.shape[0], labels[labels >= 0].bincount(minlength=classes)
    eta = nodes / (edges / nodes) ** layers
    whole = [math.floor(count * 3 * eta / int(counts.sum())) for count in counts.tolist()]
    return torch.tensor(whole, dtype=torch.double, device=labels.device) / stages


def align_clusters(
    features: Tensor, clusters: Tensor, labels: Tensor, *, classes: int, members: str = "unlabelled"
) -> Tensor:
    r"""Return for each node without a label the class whose centroid is nearest to that of its cluster.

    .. math:: \tilde y_i = \operatorname{argmin}_c \lVert \mu_c - v_{k(i)} \rVert^2

    where :math:`\mu_c` is the mean of the labelled nodes of class c, and :math:`v_k` that of the members of cluster k.
    Of equally near classes the first is taken.

    Args:
        features: (N, D) of all nodes.
        clusters: (N,) int64, the cluster of each node.
        labels: (N,) int64, -1 where a node has none.
        classes: C.
        members: whose mean stands for a cluster, "unlabelled", that of its members without a label (M3S), or "all"
            (SS-GCN).

    Returns:
        (N,) int64; nodes with a label keep it.

    Raises:
        InputError: a class has no label, a shape, type or value is wrong.

    Reference:
        Li et al., arXiv 1902.11038; You et al., arXiv 2006.09136.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [5.0], [5.2]])
        >>> align_clusters(features, torch.tensor([0, 0, 1, 1]), torch.tensor([0, -1, 1, -1]), classes=2)
        tensor([0, 0, 1, 1])
    """
    check_choice("members", members, MEMBERS)
    check_labels(labels, classes)
    if features.dim() != 2 or features.shape[:1] != labels.shape or not features.is_floating_point():
        shape = f"({labels.shape[0]}, D)"
        raise InputError(f"features of shape {tuple(features.shape)} and {features.dtype} must be floating and {shape}")
    if clusters.shape != labels.shape or clusters.dtype != torch.long or bool((clusters < 0).any()):
        raise InputError(
            f"clusters of shape {tuple(clusters.shape)} and {clusters.dtype} must be ({labels.shape[0]},) int64, not"
            " negative"
        )
    known = labels >= 0
    of_classes = _means(features[known], labels[known], classes)
    counted = torch.ones_like(known) if members == "all" else ~known
    of_clusters = _means(features[counted], clusters[counted], int(clusters.max()) + 1)
    distances = torch.cdist(of_clusters, of_classes, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.where(known, labels, distances.argmin(1)[clusters])


def select_confident(
    probabilities: Tensor, labels: Tensor, quota: Tensor, *, check: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return the nodes without a label of which a network is most sure, and the class that it gives them.

    They are gone through by falling confidence; one is taken while its class has fewer than its quota, so that of class
    j at most :math:`\lceil t_j \rceil` are.

    Args:
        probabilities: (N, C).
        labels: (N,) int64, -1 where a node has none.
        quota: (C,) t, not negative.
        check: (N,) int64, a second opinion, such as `align_clusters` gives. A node for which it is another is left out,
            and its place is not filled. None takes all.

    Returns:
        Nodes and classes, (n,) int64, the surest first; of equally sure nodes that of lowest index.

    Raises:
        InputError: a shape or type is wrong, or a quota is negative.

    Reference:
        Li et al., arXiv 1902.11038.
    """
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1] or labels.dtype != torch.long:
        raise InputError(
            f"probabilities of shape {tuple(probabilities.shape)} and labels of shape {tuple(labels.shape)} and"
            f" {labels.dtype} must be (N, C), and (N,) int64"
        )
    if quota.shape != probabilities.shape[1:] or not bool((quota >= 0).all()):
        raise InputError(f"quota={quota.tolist()} must be {probabilities.shape[1]} numbers of at least 0")
    if check is not None and (check.shape != labels.shape or check.dtype != torch.long):
        raise InputError(
            f"check of shape {tuple(check.shape)} and {check.dtype} must be {tuple(labels.shape)} int64, as labels are"
        )
    nodes = (labels == UNLABELLED).nonzero().squeeze(1)
    confidence, given = probabilities[nodes].max(1)
    order = confidence.sort(descending=True, stable=True).indices
    nodes, given = nodes[order], given[order]
    one_hot = F.one_hot(given, probabilities.shape[1])
    before = (one_hot.cumsum(0) - one_hot).gather(1, given.unsqueeze(1)).squeeze(1)  # surer nodes of the same class
    taken = before < quota[given]
    if check is not None:
        taken &= check[nodes] == given
    return nodes[taken], given[taken]


def _means(rows: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the mean row of each group; 0 where there is none."""
    sums = rows.new_zeros(count, rows.shape[1]).index_add(0, groups, rows)
    return sums / groups.bincount(minlength=count).clamp_min(1).unsqueeze(1)
