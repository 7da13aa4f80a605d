"""Weighted k-means in the features of a dense kernel: starts, and rounds by scikit-learn; see also `sparse_kmeans`."""

import warnings

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from convnn.graphs.adjacency import checked


def multilevel_labels(adjacency: Tensor, n: int) -> Tensor:
    """Return labels (N,) from merging, again and again, the two nodes with the nearest rows.

    Rows are divided by their sums and compared by the sum of absolute differences, ties going to the first pair; a
    merged node comes last. It takes a matrix of distances for each merger, and is for graphs of hundreds of nodes.
    """
    current, groups = checked(adjacency).numpy(), [[i] for i in range(adjacency.shape[0])]
    while len(groups) > n:
        sums = current.sum(1, keepdims=True)
        rows = np.divide(current, sums, out=np.zeros_like(current), where=sums > 0)
        distances = cdist(rows, rows, "cityblock")
        distances[np.tril_indices(len(rows))] = np.inf
        first, second = np.unravel_index(distances.argmin(), distances.shape)
        kept = [i for i in range(len(groups)) if i not in (first, second)]
        groups = [groups[i] for i in kept] + [groups[first] + groups[second]]
        joined = np.zeros((len(groups), len(current)))
        joined[np.arange(len(kept)), kept] = 1
        joined[-1, [first, second]] = 1
        current = joined @ current @ joined.T
    labels = torch.empty(adjacency.shape[0], dtype=torch.long)
    for label, members in enumerate(groups):
        labels[members] = label
    return labels


def draw_probability(kernel: Tensor, centers: list[int], power: float) -> Tensor:
    """Return the chances (N,) of the next centre: a power of the squared distance to the nearest centre, or to zero."""
    own = kernel.diagonal()
    squared = (own + own[centers, None] - 2 * kernel[centers]).amin(0).clamp_min(0)
    squared[centers] = 0
    chances = torch.minimum(squared, own) ** power
    if not chances.any():  # every node lies on a centre
        chances = torch.ones_like(own)
        chances[centers] = 0
    return chances / chances.sum()


def lloyd(features: Tensor, weights: Tensor, start: Tensor, max_iter: int) -> Tensor:
    """Return the labels (N,) of scikit-learn's k-means from centres `start` (n, N) times the features (N, D).

    A cluster that empties gets the farthest node (the published code begins anew).
    """
    n = start.shape[0]
    means = KMeans(n, init=(start @ features).numpy(), n_init=1, max_iter=max_iter, tol=0, algorithm="lloyd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct nodes than clusters
        labels = torch.from_numpy(means.fit_predict(features.numpy(), sample_weight=weights.numpy())).long()
    return labels.unique(return_inverse=True)[1]  # nodes that equal each other may leave fewer supernodes
