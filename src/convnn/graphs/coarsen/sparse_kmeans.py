"""Weighted k-means in the features of a sparse kernel, which are never written down: a round passes its entries."""

import numpy as np
from scipy.sparse import csr_array

from convnn.errors import InputError


def first_centres(kernel: csr_array, n: int, power: float, seed: int) -> np.ndarray:
    """Return n nodes drawn by k-means++: each in proportion to a power of its squared distance to those before.

    The distance to zero counts, too; see `dense_kmeans.draw_probability`, whose draws these are.
    """
    random, own = np.random.RandomState(seed), kernel.diagonal()
    chances, centres = Chances(own**power), np.empty(n, dtype=np.int64)
    starts, indices, data = kernel.indptr, kernel.indices, kernel.data
    for i in range(n):
        found = centres[i] = chances.draw(random.random_sample()) if i else random.randint(len(own))
        row = slice(starts[found], starts[found + 1])
        near = indices[row]
        squared = (own[near] + own[found] - 2 * data[row]).clip(min=0)
        chances.lower(near, squared**power)
        chances.lower(np.array([found]), np.zeros(1))
        if not chances.left:  # every node lies on a centre
            chances = Chances(np.ones(len(own)))
            chances.lower(centres[: i + 1], np.zeros(i + 1))
    return centres


class Chances:
    """Draws in proportion to weights (N,) that fall, a few at a time: a draw looks at sums of blocks, then at one."""

    BLOCK = 1024

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = np.zeros((-(-len(weights) // self.BLOCK), self.BLOCK))
        self.weights.flat[: len(weights)] = weights
        self.sums = self.weights.sum(1)

    @property
    def left(self) -> bool:
        """Whether anything can be drawn."""
        return bool(self.sums.any())

    def draw(self, number: float) -> int:
        """Return the first node whose running sum exceeds that share, in [0, 1), of the whole."""
        sums = self.sums.cumsum()
        target = number * sums[-1]
        block = min(int(np.searchsorted(sums, target, "right")), int(self.sums.nonzero()[0][-1]))
        inside = self.weights[block].cumsum()
        place = int(np.searchsorted(inside, target - (sums[block - 1] if block else 0), "right"))
        return block * self.BLOCK + min(place, int(self.weights[block].nonzero()[0][-1]))

    def lower(self, nodes: np.ndarray, weights: np.ndarray) -> None:
        """Take the smaller of both weights for different nodes."""
        self.weights.flat[nodes] = np.minimum(self.weights.flat[nodes], weights)
        blocks = np.unique(nodes // self.BLOCK)
        self.sums[blocks] = self.weights[blocks].sum(1)


def single_nodes(centres: np.ndarray, nodes: int) -> csr_array:
    """Return the coefficients (N, n) of centres that are nodes: each column the shares of nodes in a centre."""
    n = len(centres)
    return csr_array((np.ones(n), (centres, np.arange(n))), shape=(nodes, n))


def means(labels: np.ndarray, weights: np.ndarray, n: int) -> csr_array:
    """Return the coefficients of the weighted means of clusters; of one whose weights are all 0, of the mean."""
    weights = np.where(np.bincount(labels, weights, n)[labels] > 0, weights, 1.0)
    shares = weights / np.bincount(labels, weights, n)[labels]
    return csr_array((shares, labels, np.arange(len(labels) + 1)), shape=(len(labels), n))


def nearest_centres(kernel: csr_array, centres: csr_array) -> np.ndarray:
    r"""Return the nearest centre (N,) of each node, the first of equal ones; a centre without nodes gets the farthest.

    .. math:: \arg\min_p \; h_p^T S h_p - 2 (S h_p)_i

    Of the centres that a node has no link to, only the one of least norm can be the nearest, because the entries of
    the kernel are not negative.

    Raises:
        InputError: an entry of the kernel is negative.
    """
    if kernel.nnz and kernel.data.min() < 0:
        raise InputError("kernel must have no negative entry")
    nodes, n = centres.shape
    links = csr_array(kernel @ centres)
    links.sort_indices()
    norms = np.asarray(centres.multiply(links).sum(0)).ravel()
    least = int(norms.argmin())
    labels, scores = np.full(nodes, least), np.full(nodes, norms[least])
    linked = np.diff(links.indptr) > 0
    each = norms[links.indices] - 2 * links.data
    starts = links.indptr[:-1][linked]
    if len(starts):
        best = np.minimum.reduceat(each, starts)
        lengths = np.diff(links.indptr)[linked]
        is_best = each == best.repeat(lengths)
        first = np.minimum.reduceat(np.where(is_best, links.indices, n), starts)
        is_nearer = (best < scores[linked]) | ((best == scores[linked]) & (first < least))
        where = linked.nonzero()[0][is_nearer]
        labels[where], scores[where] = first[is_nearer], best[is_nearer]
    return _filled(labels, scores + kernel.diagonal(), n)


def _filled(labels: np.ndarray, distances: np.ndarray, n: int) -> np.ndarray:
    """Move the farthest nodes to the clusters that have none; the nearest of each cluster stays."""
    empty = (np.bincount(labels, minlength=n) == 0).nonzero()[0]
    if len(empty):
        order = np.argsort(distances, kind="stable")
        stays = np.unique(labels[order], return_index=True)[1]
        spare = np.delete(order, stays)[::-1][: len(empty)]
        labels[spare] = empty[: len(spare)]
    return labels


def between(matrix: csr_array, labels: np.ndarray, factors: np.ndarray, n: int) -> csr_array:
    """Return sums over pairs of clusters, (n, n), of the entries times the factors (N,) of both of their nodes."""
    entries = matrix.tocoo()
    rows, columns = entries.coords
    values = entries.data * factors[rows] * factors[columns]
    found = csr_array((values, (labels[rows], labels[columns])), shape=(n, n))
    found.sum_duplicates()
    return found
