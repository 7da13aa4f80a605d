"""Communities of a graph: how strong each is, and views that spare the edges and features of strong ones."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_rate
from convnn.graphs.views import drop_edges, drop_features
from convnn.ops.ragged import check_edges, check_factors


class EdgeView(NamedTuple):
    """A view with some of the edges.

    Attributes:
        edge_index: (2, E') the edges that are left.
        kept: (E,) bool, which these are, for weights of edges.
        probability: (E,) that of each edge to be kept.
    """

    edge_index: Tensor
    kept: Tensor
    probability: Tensor


class FeatureView(NamedTuple):
    """A view with some of the features.

    Attributes:
        x: (N, C), where those that are dropped are 0 in all nodes.
        probability: (C,) that of each feature to be dropped.
    """

    x: Tensor
    probability: Tensor


def louvain_communities(edge_index: Tensor, nodes: int, seed: int = 0) -> Tensor:
    """Return the community (N,) int64 of each node, 0 to K - 1, by the method of Louvain; edges count alike.

    Args:
        edge_index: (2, E) int64, each edge in one direction or both.
        nodes: N; a node without edges is a community of its own.
        seed: of the order in which nodes move.

    Raises:
        InputError: an edge is wrong.

    Reference:
        Blondel et al., arXiv 0803.0476; `networkx.community.louvain_communities`.
    """
    import networkx  # takes a quarter of a second to import

    check_edges(edge_index, nodes)
    graph = networkx.Graph(edge_index.T.tolist())
    graph.add_nodes_from(range(nodes))
    community = torch.zeros(nodes, dtype=torch.long)
    for number, members in enumerate(networkx.community.louvain_communities(graph, seed=seed)):
        community[list(members)] = number
    return community.to(edge_index.device)


def community_strength(
    edge_index: Tensor, community: Tensor, edge_weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return how much each community adds to the modularity of the partition, and that of each node's community.

    .. math:: s_c = \frac{w_c}{m} - \Big( \frac{d_c}{2 m} \Big)^2

    with the weight m of all edges, :math:`w_c` of those within the community, and the sum :math:`d_c` of its nodes'
    degrees, in which a self-loop counts twice. A community that edges leave more often than not is negative.

    Args:
        edge_index: (2, E) int64 of an undirected graph, each edge in one direction or both; repeated ones count once.
        community: (N,) int64, the community of each node, 0 to K - 1; each has a node. Those of
            `louvain_communities`, for example.
        edge_weight: (E,), at least 0; None is 1. Of several of one pair the mean counts.

    Returns:
        s of the communities, (K,), and of the nodes, (N,), in float64 unless the weights have another type.

    Raises:
        InputError: a shape or type is wrong, there is no edge, a community has no node, or a weight is negative or not
            finite.

    Reference:
        Chen et al., "CSGCL: Community-Strength-Enhanced Graph Contrastive Learning", arXiv 2305.04658, and its code;
        modularity: Newman and Girvan, "Finding and evaluating community structure in networks", 2004.

    Example:
        >>> community_strength(torch.tensor([[0, 2], [1, 3]]), torch.tensor([0, 0, 1, 1]))[0]
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    _check_communities(edge_index, community)
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    if edge_weight is None:
        edge_weight = torch.ones(edge_index.shape[1], dtype=torch.double, device=edge_index.device)
    if not bool((edge_weight >= 0).all() & edge_weight.isfinite().all()) or not bool((edge_weight > 0).any()):
        raise InputError("edge_weight must be finite and at least 0, and above 0 for some edge")
    (one, other), place = edge_index.sort(0).values.unique(dim=1, return_inverse=True)
    weight = edge_weight.new_zeros(one.shape[0]).index_add(0, place, edge_weight) / torch.bincount(place)
    count, total = int(community.max()) + 1, weight.sum()
    first, second = community[one], community[other]
    zeros = weight.new_zeros(count)
    within = zeros.index_add(0, first, weight * (first == second))
    degree = zeros.index_add(0, first, weight).index_add(0, second, weight)
    strength = within / total - (degree / (2 * total)).square()
    return strength, strength[community]


def communal_edge_scores(edge_index: Tensor, community: Tensor, strength: Tensor) -> Tensor:
    """Return scores (E,) of edges from 0 to 1, high within strong communities and low between them.

    An edge within a community has its strength, one between two minus the sum of both; then the least becomes 0 and the
    largest 1. Where all are equal, as with a single community, all are 1.

    Args:
        edge_index: (2, E) int64.
        community: (N,) int64.
        strength: (K,) of the communities, see `community_strength`.

    Raises:
        InputError: a shape or type is wrong, there is no edge, or a strength is not finite.

    Reference:
        Chen et al., arXiv 2305.04658.
    """
    _check_communities(edge_index, community)
    _check_strength(strength, int(community.max()) + 1, "community")
    source, target = community[edge_index]
    score = torch.where(source == target, strength[source], -(strength[source] + strength[target]))
    least, most = score.min(), score.max()
    return torch.ones_like(score) if bool(least == most) else (score - least) / (most - least)


def communal_edge_dropping(
    edge_index: Tensor,
    score: Tensor,
    p: float,
    threshold: float = 1.0,
    *,
    undirected: bool = False,
    generator: torch.Generator | None = None,
) -> EdgeView:
    r"""Return a view that keeps edges by their scores, :math:`k_e = \min(\max(a_e (1 - p) / \bar a, 1 - t), 1)`.

    Where scores are far above their mean the probability ends at 1, so that fewer edges than the share p are dropped.

    Args:
        edge_index: (2, E) int64.
        score: (E,) a, at least 0, see `communal_edge_scores`.
        p: share of edges to drop, at least 0 and below 1.
        threshold: t, the largest probability of an edge to be dropped, above 0 and at most 1.
        undirected: draw once for each pair of nodes. Otherwise, as in the published code, the directions of an edge are
            drawn apart, and views are directed.
        generator: source of the random numbers, on the device of the edges; None is that of torch.

    Returns:
        The edges that are left, which these are, and the probabilities.

    Raises:
        InputError: a shape or type is wrong, or a number is out of range.

    Reference:
        Chen et al., arXiv 2305.04658.
    """
    check_rate("p", p)
    _check_limit("threshold", threshold)
    if score.shape != edge_index.shape[1:] or not bool(((score >= 0) & score.isfinite()).all()):
        raise InputError(
            f"score of shape {tuple(score.shape)} must be ({edge_index.shape[-1]},), finite and at least 0"
        )
    kept = (score / score.mean() * (1 - p)).clamp(1 - threshold, 1)
    edges, mask = drop_edges(edge_index, 1 - kept, undirected=undirected, generator=generator)
    return EdgeView(edges, mask, kept)


def communal_attribute_voting(
    x: Tensor,
    node_strength: Tensor,
    p: float,
    cap: float = 0.7,
    *,
    dense: bool = False,
    generator: torch.Generator | None = None,
) -> FeatureView:
    r"""Return a view that drops features for which strong communities do not vote.

    .. math:: v_f = \sum_i |x_{if}| s_i, \qquad l = \log v, \qquad
        d_f = \min\Big( p \frac{\max l - l_f}{\max l - \bar l}, c \Big)

    A feature of which nobody has anything is never dropped. Votes below 0, which come from communities of negative
    strength, count as the smallest positive number, where the published code then drops all features with probability
    c; equal votes are dropped with p.

    Args:
        x: (N, C) features.
        node_strength: (N,) s, of the community of each node, see `community_strength`.
        p: share of features to drop, at least 0 and below 1.
        cap: c, above 0 and at most 1.
        dense: whether a feature of which nobody has anything has the least of all votes instead: the form for features
            of which all are everywhere.
        generator: source of the random numbers, on the device of x; None is that of torch.

    Returns:
        The features, and the probabilities of each to be dropped.

    Raises:
        InputError: a shape or type is wrong, a strength is not finite, or a number is out of range.

    Reference:
        Chen et al., arXiv 2305.04658.
    """
    check_rate("p", p)
    _check_limit("cap", cap)
    if x.dim() != 2 or not x.is_floating_point():
        raise InputError(f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (N, C), a row for each node")
    _check_strength(node_strength, x.shape[0], "node")
    votes = x.abs().mT @ node_strength.to(x.dtype)
    if not dense:
        votes = torch.where(votes == 0, votes.max(), votes)
    votes = votes.clamp_min(torch.finfo(votes.dtype).tiny).log()
    below = votes.max() - votes
    mean = below.mean()
    probability = (torch.full_like(below, p) if bool(mean == 0) else below / mean * p).clamp_max(cap)
    return FeatureView(drop_features(x, probability, generator=generator), probability)


def _check_communities(edge_index: Tensor, community: Tensor) -> None:
    if community.dim() != 1 or community.dtype != torch.long or not community.numel():
        raise InputError(
            f"community of shape {tuple(community.shape)} and {community.dtype} must be (N,) int64, that of each node"
        )
    check_edges(edge_index, community.shape[0])
    if not edge_index.numel():
        raise InputError("edge_index of shape (2, 0) must have at least one edge")
    if int(community.min()) < 0:
        raise InputError(f"community has {int(community.min())}; each node must have one of 0 to K - 1")
    empty = (torch.bincount(community) == 0).nonzero()
    if empty.numel():
        raise InputError(f"community must have a node of each from 0 to K - 1, and has none of {int(empty[0])}")


def _check_strength(strength: Tensor, count: int, of: str) -> None:
    if strength.shape != (count,) or not bool(strength.isfinite().all()):
        raise InputError(f"strength of shape {tuple(strength.shape)} must be ({count},) and finite, one for each {of}")


def _check_limit(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InputError(f"{name}={value!r} must be above 0 and at most 1")
