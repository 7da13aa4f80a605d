r"""Products with kernel matrices whose weight lies on few entries: hashing finds those, a sample the rest."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sklearn.utils import check_random_state
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least, check_positive
from convnn.learners.kernels import Kernel, RadialKernel
from convnn.learners.products import Chunked


class EuclideanHash(NamedTuple):
    r"""Tables of buckets in which near points meet: :math:`\lfloor (a_{lt} \cdot v + b_{lt}) / w \rfloor` for all t.

    Attributes:
        directions: a (L, k, d), standard normal.
        offsets: b (L, k), uniform in [0, w).
        width: w.

    Reference:
        Datar et al., "Locality-sensitive hashing scheme based on p-stable distributions", SoCG 2004.
    """

    directions: Tensor
    offsets: Tensor
    width: float

    def codes(self, points: Tensor) -> Tensor:
        """Return the codes (L, n, k) of points (n, d), int64."""
        along = torch.einsum("lkd,nd->lnk", self.directions, points) + self.offsets[:, None]
        return (along / self.width).floor().long()

    def candidates(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the pairs (E, 2) of a query (n, d) and a key (m, d) that share a bucket, each once, in order."""
        count = queries.shape[0]
        found = [queries.new_empty(0, dtype=torch.long)]
        for codes in self.codes(torch.cat([queries, keys])):
            buckets = codes.unique(dim=0, return_inverse=True)[1] if codes.shape[1] else codes.new_zeros(len(codes))
            found.append(_meetings(buckets[:count], buckets[count:]))
        pairs = torch.cat(found).unique()
        return torch.stack([pairs // max(keys.shape[0], 1), pairs % max(keys.shape[0], 1)], 1)


class Parts(NamedTuple):
    """A product and what it is made of.

    Attributes:
        heavy: (E, 2) the pairs found whose kernel is at least tau.
        heavy_part: (n, c) their sum.
        samples: (s,) keys drawn for the remainder.
        total: (n, c) the sum and the estimate of the remainder.
    """

    heavy: Tensor
    heavy_part: Tensor
    samples: Tensor
    total: Tensor


def hashed_product(
    kernel: RadialKernel,
    queries: Tensor,
    keys: Tensor,
    v: Tensor,
    candidates: Tensor,
    tau: float,
    uniforms: Tensor,
    *,
    megabytes: float = 256.0,
) -> Parts:
    r"""Return K v from the large entries among candidate pairs, and a sample that stands for all others.

    .. math:: y_i = \sum_{j : (i, j) \in H} K_{ij} v_j
        + \frac{1}{s} \sum_{t=1}^s [(i, j_t) \notin H] \frac{K_{i j_t} v_{j_t}}{p_{j_t}}, \qquad p_j \propto |v_j|^2

    where H are the candidates with :math:`K_{ij} \ge \tau`. The estimate is unbiased, whatever the candidates, and

    .. math:: E |y - K v|^2 = (|v|^2 |K_R|_F^2 - |K_R v|^2) / s

    with the remainder :math:`K_R` of K.

    Args:
        kernel: of the distance.
        queries: (n, d).
        keys: (m, d).
        v: (m, c).
        candidates: (E, 2) pairs of a query and a key, in order.
        tau: 0 takes all candidates, more than 1 none.
        uniforms: (s,) in [0, 1), which draw keys by inverse cumulative sums; none of them leaves the remainder out.
        megabytes: the most memory of kernel values at a time.
    """
    values = _of_pairs(kernel, queries, keys, candidates, megabytes)
    heavy, values = candidates[values >= tau], values[values >= tau]
    heavy_part = v.new_zeros(queries.shape[0], v.shape[1])
    for pairs, some in _split(heavy, values, v.shape[1], megabytes):
        heavy_part.index_add_(0, pairs[:, 0], some[:, None] * v[pairs[:, 1]])
    weights = v.square().sum(1)
    if not uniforms.numel() or not weights.any():
        return Parts(heavy, heavy_part, heavy.new_empty(0), heavy_part)
    shares = weights / weights.sum()
    drawn = torch.searchsorted(shares.cumsum(0), uniforms, right=True)
    drawn = drawn.clamp_max(int(weights.nonzero().max()))  # the sums may end below 1
    scaled = v[drawn] / (shares[drawn] * drawn.shape[0])[:, None]
    codes = heavy[:, 0] * keys.shape[0] + heavy[:, 1]
    total = heavy_part.clone()
    rows = max(int(megabytes * 1e6 / (8 * queries.element_size() * drawn.shape[0])), 1)
    for first in range(0, queries.shape[0], rows):
        some = queries[first : first + rows]
        numbers = torch.arange(first, first + some.shape[0], device=v.device)[:, None] * keys.shape[0] + drawn
        block = kernel.block(some, keys[drawn]).masked_fill(_is_among(numbers, codes), 0)
        total[first : first + rows] += block @ scaled
    return Parts(heavy, heavy_part, drawn, total)


@dataclass(frozen=True)
class Hashed:
    r"""The product with a kernel of the distance in less than n m steps, if the matrix has few large entries.

    If :math:`|K|_1 = O(n)`, the error is at most :math:`\epsilon |v|` in the mean square at the settings by default,
    :math:`\tau = n^{-1/2}` and :math:`s = c \sqrt{n} / \epsilon^2`, where :math:`c = |K|_1 / n` is estimated from a
    thousand entries; n^1.5 entries are computed. Real data are so only at small bandwidths. Few points ask for a
    sample larger than all keys: then the product is exact. Every call hashes anew with the same random numbers.

    Args:
        tau: kernel values from which entries are computed one by one, above 0 and at most 1; None is n^-1/2.
        samples: s, drawn keys for the remainder; 0 leaves it out. None follows from epsilon.
        tables: L, in any of which points may meet.
        hashes: k, in all of which they must agree.
        width: w, of buckets; None is 4 bandwidths.
        epsilon: the error allowed, without effect if samples are given.
        random_state: seed or generator of the hashes, then of the sample.
        megabytes: the most memory of kernel values at a time.

    Raises:
        InputError: a setting is out of range; in a product, lengths do not agree, or v has NaN.
        UnsupportedError: in a product, the kernel is not a function of the distance.

    Reference:
        Indyk, Kapralov, Sheth and Wagner, "Improved algorithms for kernel matrix-vector multiplication under sparsity
        assumptions", arXiv 2507.23539, whose problem it is; the algorithm is ours, with its own proof.
    """

    tau: float | None = None
    samples: int | None = None
    tables: int = 8
    hashes: int = 4
    width: float | None = None
    epsilon: float = 0.5
    random_state: Any = 0
    megabytes: float = 256.0

    def __post_init__(self) -> None:
        if self.tau is not None and not 0 < self.tau <= 1:
            raise InputError(f"tau={self.tau!r} must be above 0 and at most 1")
        if self.samples is not None:
            check_at_least("samples", self.samples, 0)
        check_at_least("tables", self.tables, 1)
        check_at_least("hashes", self.hashes, 1)
        if self.width is not None:
            check_positive("width", self.width)
        check_positive("epsilon", self.epsilon)
        check_positive("megabytes", self.megabytes)

    def __call__(self, kernel: Kernel, X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
        """Return about K(X, Y) v, (n,) or (n, c), of points (n, d) and (m, d) and vectors (m,) or (m, c)."""
        if X.shape[1] != Y.shape[1] or v.shape[0] != Y.shape[0]:
            raise InputError(
                f"X {tuple(X.shape)}, Y {tuple(Y.shape)} and v {tuple(v.shape)} must be (n, d), (m, d), (m, c)"
            )
        if not bool(v.isfinite().all()):
            raise InputError("v has entries that are not finite, by which nothing can be drawn")
        if not isinstance(kernel, RadialKernel):
            raise UnsupportedError(f"kernel {kernel} is not a function of the distance; hashing needs one")
        random = check_random_state(self.random_state)
        width = 4 * kernel.bandwidth if self.width is None else self.width
        shape = (self.tables, self.hashes)
        directions = torch.from_numpy(random.standard_normal((*shape, X.shape[1]))).to(X)
        hashes = EuclideanHash(directions, torch.from_numpy(random.uniform(0, width, shape)).to(X), width)
        samples = self._count(kernel, X, Y, random) if self.samples is None else self.samples
        if self.samples is None and samples >= Y.shape[0]:
            return Chunked(self.megabytes)(kernel, X, Y, v)
        uniforms = torch.from_numpy(random.uniform(size=samples)).to(X)
        tau = X.shape[0] ** -0.5 if self.tau is None else self.tau
        columns = v.unsqueeze(1) if v.dim() == 1 else v
        found = hashed_product(
            kernel, X, Y, columns, hashes.candidates(X, Y), tau, uniforms, megabytes=self.megabytes
        ).total
        return found.squeeze(1) if v.dim() == 1 else found

    def _count(self, kernel: RadialKernel, X: Tensor, Y: Tensor, random: Any) -> int:
        """Return the samples that the error allowed asks for."""
        if not X.shape[0] or not Y.shape[0]:
            return 0
        rows, columns = (torch.from_numpy(random.randint(len(points), size=1000)).to(X.device) for points in (X, Y))
        mean = kernel.of_squares((X[rows] - Y[columns]).square().sum(1)).mean().item()
        return math.ceil(mean * Y.shape[0] * math.sqrt(X.shape[0]) / self.epsilon**2)


def _meetings(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the pairs in a common bucket, of buckets (n,) and (m,), as n m + j."""
    ordered, places = keys.sort(stable=True)
    first = torch.searchsorted(ordered, queries)
    counts = torch.searchsorted(ordered, queries, right=True) - first
    rows = torch.arange(len(queries), device=queries.device).repeat_interleave(counts)
    within = torch.arange(len(rows), device=queries.device) - (counts.cumsum(0) - counts)[rows]
    return rows * len(keys) + places[first[rows] + within]


def _of_pairs(kernel: RadialKernel, queries: Tensor, keys: Tensor, pairs: Tensor, megabytes: float) -> Tensor:
    """Return the kernel (E,) of pairs (E, 2)."""
    at_once = max(int(megabytes * 1e6 / (3 * queries.element_size() * max(queries.shape[1], 1))), 1)
    some = [kernel.of_squares((queries[i] - keys[j]).square().sum(1)) for i, j in (p.T for p in pairs.split(at_once))]
    return torch.cat(some) if some else queries.new_empty(0)


def _split(pairs: Tensor, values: Tensor, columns: int, megabytes: float) -> Any:
    at_once = max(int(megabytes * 1e6 / (2 * values.element_size() * max(columns, 1))), 1)
    return zip(pairs.split(at_once), values.split(at_once), strict=True)


def _is_among(numbers: Tensor, ordered: Tensor) -> Tensor:
    """Return which numbers are among others, which ascend."""
    if not ordered.numel():
        return torch.zeros_like(numbers, dtype=torch.bool)
    return ordered[torch.searchsorted(ordered, numbers).clamp_max(len(ordered) - 1)] == numbers
