r"""InfoNCE with a kernel of the distance: two views of an object attract each other, all other rows repel.

For a kernel :math:`e^{-d^\gamma / T}` it is spectral clustering of the graph that joins the views: the attraction is
the trace :math:`\operatorname{tr}(Z^\top L Z)` of that graph's Laplacian, and the repulsion stands for the constraint
that rows are orthogonal.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_choice, check_fraction, check_not_negative, check_positive
from convnn.objectives.contrastive.engine import Pairs, check_rows, check_views
from convnn.objectives.contrastive.scores import Distance, Mixture, Score

MIXTURES = ("sum", "concat", "kernel")


def info_nce(
    z1: Tensor,
    z2: Tensor,
    score: Score,
    *,
    bank: Tensor | None = None,
    eps: float = 0.0,
    negatives: int | None = None,
    method: str = "exact",
    rows: int | None = None,
) -> Tensor:
    r"""Return how much two views of each object are less alike than all rows are.

    .. math:: \frac{1}{2B} \sum_{i=1}^{2B} \Big( -s(Z_i, Z_{\pi(i)}) + \log \sum_{k \neq i} e^{s(Z_i, Z_k)} \Big),
        \qquad Z = [z_1; z_2]

    where :math:`\pi(i)` is the other view of the same object, which is in the sum. With a bank, the B rows of `z1`
    are queries, and the sum is over the bank alone.

    Args:
        z1: (B, d) one view of each object, B at least 2.
        z2: (B, d) the other view, or the key of each query; with a bank it usually has no gradient.
        score: how alike two rows are, `Cosine`, `Distance`, `Mixture` or `ArcCosine`.
        bank: (M, d) negatives of all queries.
        eps: the sum S counts as max(S, eps) + eps. The published code has 1e-6, which takes the gradient from rows
            that are far from all others; 0 does not.
        negatives: the sum is over the other view and only so many of the nearest rows; None is all. Those beyond
            hardly count, so that the loss is a little smaller, and its cost grows as N K instead of N^2.
        method: how they are found, "exact" or "clustered", as in `convnn.ops.select.nearest`.
        rows: queries of which all scores are alive at once, see `Pairs`.

    Returns:
        A number.

    Raises:
        InputError: shapes do not agree, there are fewer than 2 objects, eps is negative, or negatives are more than
            there are, or given with a bank.

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", arXiv 2002.05709; with a
        bank, He et al., "Momentum Contrast", arXiv 1911.05722.
    """
    check_views(("z1", "z2"), z1, z2)
    check_not_negative("eps", eps)
    if bank is not None:
        if negatives is not None:
            raise InputError(f"negatives={negatives} must be None with a bank, whose rows are the negatives")
        check_rows("bank", bank)
        positive = Pairs(z1, z2, score).at(torch.arange(z1.shape[0], device=z1.device))
        push = Pairs(z1, bank, score, rows=rows).log_partition()
    else:
        z = torch.cat([z1, z2])
        own = torch.arange(z.shape[0], device=z.device)
        partner = own.roll(z1.shape[0])
        pairs = Pairs(z, z, score, own=own, rows=rows)
        positive = pairs.at(partner)
        if negatives is None:
            push = pairs.log_partition()
        else:
            if negatives > z.shape[0] - 2:
                raise InputError(f"negatives={negatives} must be at most {z.shape[0] - 2}, the number of other rows")
            nearest = pairs.nearest(negatives, excluded=partner.unsqueeze(1), method=method)
            push = torch.logaddexp(pairs.log_partition(nearest), positive)
    if eps:
        push = (push.exp().clamp_min(eps) + eps).log()
    return (push - positive).mean()


def kernel_info_nce(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.1,
    gamma: float = 2.0,
    p: float = 2.0,
    mixture: str | None = None,
    weight: float = 1.0,
    second_temperature: float | None = None,
    bank: Tensor | None = None,
    eps: float = 0.0,
    negatives: int | None = None,
    method: str = "exact",
    rows: int | None = None,
) -> Tensor:
    r"""Return InfoNCE with the kernel :math:`e^{-\lVert u - v \rVert_p^\gamma / T}`, or a mixture with a Gaussian.

    On unit rows, a gamma of 2 is InfoNCE by cosine at the temperature T / 2.

    Args:
        z1: (B, d) one view of each object, usually of unit length, B at least 2.
        z2: (B, d) the other view.
        temperature: T, above 0.
        gamma: power of the distance, above 0.
        p: norm of the distance, at least 1.
        mixture: "sum", :math:`\lambda \ell_\gamma + (1 - \lambda) \ell_2`; "concat", the same with the first half of
            the columns in one loss and the second half in the other; "kernel", one loss of the mean of both kernels,
            which is the mixture of the paper where the published code has the others; None is the kernel alone.
        weight: lambda, in [0, 1].
        second_temperature: T of the Gaussian; None is T.
        bank, eps, negatives, method, rows: as in `info_nce`.

    Returns:
        A number.

    Raises:
        InputError: as in `info_nce`; or a temperature or gamma is not positive, p is below 1, the weight lies outside
            [0, 1], the mixture is unknown, or "concat" has an odd number of columns.

    Reference:
        Tan et al., "Contrastive Learning Is Spectral Clustering On Similarity Graph", arXiv 2303.15103.

    Example:
        >>> views = torch.eye(2, dtype=torch.double)
        >>> kernel_info_nce(views, views, temperature=2.0)
        tensor(0.5514, dtype=torch.float64)
    """
    check_fraction("weight", weight)
    first = Distance(temperature, gamma, p)
    second = Distance(temperature if second_temperature is None else second_temperature, 2.0, p)
    loss = partial(info_nce, eps=eps, negatives=negatives, method=method, rows=rows)
    if mixture is None:
        return loss(z1, z2, first, bank=bank)
    check_choice("mixture", mixture, MIXTURES)
    if mixture == "kernel":
        return loss(z1, z2, Mixture(first, second, weight), bank=bank)
    left = right = (z1, z2, bank)
    if mixture == "concat":
        left, right = ((_half(z1, i), _half(z2, i), None if bank is None else _half(bank, i)) for i in (0, 1))
    return weight * loss(*left[:2], first, bank=left[2]) + (1 - weight) * loss(*right[:2], second, bank=right[2])


def _half(rows: Tensor, number: int) -> Tensor:
    """Return the first or the second half of the columns."""
    check_rows("rows", rows)
    if rows.shape[1] % 2:
        raise InputError(f"rows of {rows.shape[1]} columns must have an even number of them with mixture='concat'")
    return rows.chunk(2, 1)[number]


def similarity_info_nce(
    z: Tensor,
    similarity: Tensor,
    *,
    temperature: float = 0.1,
    gamma: float = 2.0,
    p: float = 2.0,
    rows: int | None = None,
) -> Tensor:
    r"""Return InfoNCE whose positives are the neighbours in a graph, each as often as it is similar.

    .. math:: \frac{1}{N} \sum_i \Big( \sum_j \pi_{ij} \lVert z_i - z_j \rVert_p^\gamma / T
        + \log \sum_{k \neq i} e^{-\lVert z_i - z_k \rVert_p^\gamma / T} \Big), \qquad \pi_{ij} = W_{ij} / \sum_k W_{ik}

    For a gamma and p of 2 and equal degrees, the attraction is :math:`2 \operatorname{tr}(Z^\top L Z)` of the
    Laplacian L = D - W over N T and the degree. A row without neighbours is only repelled.

    Args:
        z: (N, d), N at least 2.
        similarity: (N, N) W, at least 0; its diagonal does not count.
        temperature, gamma, p, rows: as in `kernel_info_nce`.

    Returns:
        A number.

    Raises:
        InputError: shapes do not agree, a similarity is negative or NaN, or another argument is out of range.

    Reference:
        Tan et al., arXiv 2303.15103, theorem 3.
    """
    check_views(("z", "z"), z, z)
    pairs = Pairs(z, z, Distance(temperature, gamma, p), own=torch.arange(z.shape[0], device=z.device), rows=rows)
    shares = F.normalize(similarity - similarity.diagonal().diag(), p=1, dim=1)
    return (pairs.log_partition() - pairs.total(shares)).mean()


def spectral_contrast(z1: Tensor, z2: Tensor, *, eps: float = 0.0) -> Tensor:
    r"""Return the spectral contrastive loss, in which squares of inner products repel.

    .. math:: \frac{1}{B (B - 1)} \sum_i \max\Big( \sum_{k \neq i} (Z_i \cdot Z_k)^2, \epsilon \Big)
        - \frac{2}{B} \sum_b z_{1b} \cdot z_{2b}, \qquad Z = [z_1; z_2]

    The squares are :math:`Z_i^\top (Z^\top Z) Z_i`, so that no pair is computed.

    Args:
        z1: (B, d) one view of each object, B at least 2.
        z2: (B, d) the other view.
        eps: the least sum of a row; 1e-6 in the published code.

    Returns:
        A number.

    Raises:
        InputError: shapes do not agree, or there are fewer than 2 objects.

    Reference:
        HaoChen et al., arXiv 2106.04156; in the form of the code of arXiv 2303.15103.
    """
    check_views(("z1", "z2"), z1, z2)
    z, count = torch.cat([z1, z2]), z1.shape[0]
    squares = ((z @ (z.mT @ z)) * z).sum(1) - z.square().sum(1).square()
    return squares.clamp_min(eps).sum() / (count * (count - 1)) - 2 * (z1 * z2).sum() / count


class InfoNCE(nn.Module):
    r"""Project the features of two views onto a sphere, and contrast them by `kernel_info_nce`.

    .. math:: z = \sqrt{\mu} \, g(h) / \lVert g(h) \rVert_q, \qquad
        g = \mathrm{Linear} \circ \mathrm{ReLU} \circ \mathrm{BatchNorm} \circ \mathrm{Linear}

    The last map has no bias. The network that makes the features is not part of it.

    Args:
        features: width of h.
        dim: width of z; 128 published, 256 for "concat".
        hidden: width between the two maps.
        mu: square of the radius of the sphere, above 0.
        norm: q.
        temperature, gamma, p, mixture, weight, eps, negatives, method: as in `kernel_info_nce`.

    Raises:
        InputError: a setting is out of range, or "concat" has an odd `dim`.

    Reference:
        Tan et al., arXiv 2303.15103.
    """

    def __init__(
        self,
        features: int,
        dim: int = 128,
        hidden: int = 2048,
        *,
        mu: float = 1.0,
        norm: float = 2.0,
        temperature: float = 0.1,
        gamma: float = 2.0,
        p: float = 2.0,
        mixture: str | None = None,
        weight: float = 1.0,
        eps: float = 0.0,
        negatives: int | None = None,
        method: str = "exact",
    ) -> None:
        super().__init__()
        check_positive("mu", mu)
        self.head = nn.Sequential(
            nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim, bias=False)
        )
        self.radius, self.norm = math.sqrt(mu), norm
        self.settings: dict[str, Any] = {
            "temperature": temperature,
            "gamma": gamma,
            "p": p,
            "mixture": mixture,
            "weight": weight,
            "eps": eps,
            "negatives": negatives,
            "method": method,
        }

    def project(self, h: Tensor) -> Tensor:
        """Map features (B, features) to rows (B, dim) on the sphere."""
        return self.radius * F.normalize(self.head(h), p=self.norm, dim=1)

    def forward(self, h1: Tensor, h2: Tensor) -> dict[str, Tensor]:
        """Map the features (B, features) of two views to the terms of the loss: {"contrast": a number}."""
        return {"contrast": kernel_info_nce(self.project(h1), self.project(h2), **self.settings)}
