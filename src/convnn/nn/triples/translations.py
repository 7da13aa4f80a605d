r"""Scores of triples by translation: the relation leads from the head to the tail, and what is missing counts."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_choice

DISSIMILARITIES = ("L1", "L2", "eL2")
"""Names of the distances; eL2 is that of points on circles, of `toruse` alone."""


def transe(z: Tensor, p: int = 2) -> Tensor:
    r"""Return :math:`-\lVert e_h + r - e_t \rVert_p^2`, the square for p = 1 too, as published with the sparse product.

    Args:
        z: (..., d), e_h + r - e_t.
        p: 1 or 2.

    Returns:
        (...), the higher the better.

    Raises:
        InputError: p is neither 1 nor 2.

    Reference:
        Bordes et al., "Translating Embeddings for Modeling Multi-relational Data", NeurIPS 2013; SparseTransX, arXiv
        2502.16949. The score of `torch_geometric.nn.kge.TransE` is -||z||_p.
    """
    if p not in (1, 2):
        raise InputError(f"p_norm={p!r} must be 1 or 2")
    return -(z.square().sum(-1) if p == 2 else z.abs().sum(-1).square())


def transh(difference: Tensor, relation: Tensor, normal: Tensor) -> Tensor:
    r"""Return :math:`-\lVert D - \langle w, D \rangle w + r \rVert_2^2`: a translation on the plane of each relation.

    Args:
        difference: D (..., d), e_h - e_t of entities of length 1.
        relation: r (..., d).
        normal: w (..., d) of the plane, of length 1.

    Returns:
        (...), the higher the better.

    Reference:
        Wang et al., "Knowledge Graph Embedding by Translating on Hyperplanes", AAAI 2014.
    """
    return transe(on_plane(difference, normal) + relation)


def transr(difference: Tensor, relation: Tensor, projection: Tensor) -> Tensor:
    r"""Return :math:`-\lVert M_r D + r \rVert_2^2`: a translation in a space of each relation.

    Args:
        difference: D (..., d), e_h - e_t of entities of length 1.
        relation: r (..., d_r).
        projection: M (..., d_r, d).

    Returns:
        (...), the higher the better.

    Reference:
        Lin et al., "Learning Entity and Relation Embeddings for Knowledge Graph Completion", AAAI 2015.
    """
    return transe((projection @ difference.unsqueeze(-1)).squeeze(-1) + relation)


def toruse(z: Tensor, dissimilarity: str = "L2") -> Tensor:
    r"""Return minus the distance of points on circles, of which only the fraction of z counts.

    .. math:: -2 \sum_j q_j \text{ for L1}, \qquad -4 \sum_j q_j^2 \text{ for L2}, \qquad
        -\tfrac12 \sum_j (1 - \cos 2 \pi z_j) \text{ for eL2}, \qquad q_j = |z_j - \operatorname{round}(z_j)|

    Args:
        z: (..., d), e_h + r - e_t.
        dissimilarity: "L1", "L2" or "eL2".

    Returns:
        (...), the higher the better, at most 0.

    Raises:
        InputError: the dissimilarity is unknown.

    Reference:
        Ebisu and Ichise, "TorusE: Knowledge Graph Embedding on a Lie Group", arXiv 1711.05435.
    """
    check_choice("dissimilarity", dissimilarity, DISSIMILARITIES)
    if dissimilarity == "eL2":
        return -(1 - (2 * torch.pi * z).cos()).sum(-1) / 2
    q = (z - z.detach().round()).abs()
    return -2 * q.sum(-1) if dissimilarity == "L1" else -4 * q.square().sum(-1)


def on_plane(x: Tensor, normal: Tensor) -> Tensor:
    """Return x (..., d) without its part along a normal (..., d) of length 1."""
    return x - (normal * x).sum(-1, keepdim=True) * normal
