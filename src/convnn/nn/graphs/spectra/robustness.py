"""How far attacks on the features of the nodes move what a network makes of a graph."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.nn.graphs._checks import check_weights
from convnn.ops.edges import propagate
from convnn.ops.ragged import check_edges

Network = Callable[[Tensor, Tensor], Tensor]
"""A function of features (N, C) of the nodes and of edge_index (2, E) with a row for each node."""


class Robustness(NamedTuple):
    """What attacks at random do.

    Attributes:
        risk: the share of the attacks that move the embedding by more than sigma.
        distances: (samples,) how far each of them moves it, the sum over all nodes.
    """

    risk: float
    distances: Tensor


def expected_robustness(
    network: Network,
    x: Tensor,
    edge_index: Tensor,
    *,
    eps: float,
    sigma: float,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> Robustness:
    r"""Estimate the probability that a random attack moves the embedding by more than sigma.

    .. math:: P \Bigl[ \sum_u \lVert z_u(X') - z_u(X) \rVert_2 > \sigma \Bigr]

    where every row of X' is uniformly distributed in the ball of radius eps around that of X, by itself.

    Args:
        network: function z of features and edges, such as `GCORNNet.embed`, in evaluation mode.
        x: (N, C).
        edge_index: (2, E) int64.
        eps: radius, at least 0.
        sigma: threshold, positive.
        samples: number of attacks, at least 1.
        generator: source of random numbers; None is torch's.

    Raises:
        InputError: a number is out of range.

    Reference:
        Abbahaddou et al., "Bounding the Expected Robustness of Graph Neural Networks Subject to Node Feature Attacks",
        arXiv 2404.17947.
    """
    check_positive("sigma", sigma)
    check_at_least("samples", samples, 1)
    normal = torch.randn(samples, *x.shape, generator=generator, dtype=x.dtype, device=x.device)
    uniform = torch.rand(samples, x.shape[0], generator=generator, dtype=x.dtype, device=x.device)
    moved = distances(network, x, edge_index, in_balls(normal, uniform, eps))
    return Robustness((moved > sigma).double().mean().item(), moved)


def in_balls(normal: Tensor, uniform: Tensor, eps: float) -> Tensor:
    """Turn draws from the normal (..., C) and the uniform distribution (...) into points of a ball of radius eps.

    Raises:
        InputError: eps is negative.
    """
    check_not_negative("eps", eps)
    return eps * uniform.pow(1 / normal.shape[-1]).unsqueeze(-1) * F.normalize(normal, dim=-1, eps=0)


@torch.no_grad()
def distances(network: Network, x: Tensor, edge_index: Tensor, changes: Tensor) -> Tensor:
    """Return how far each change (M, N, C) of the features moves the embedding, the sum over all nodes, (M,)."""
    before = network(x, edge_index)
    return torch.stack([(network(x + change, edge_index) - before).norm(dim=1).sum() for change in changes])


def robustness_bound(
    weights: Sequence[Tensor], edge_index: Tensor, nodes: int, edge_weight: Tensor | None = None, *, eps: float
) -> Tensor:
    r"""Bound how far any attack moves the embedding of a graph convolutional network.

    .. math:: \sum_u \lVert z_u(X') - z_u(X) \rVert_2 \le \varepsilon \prod_l \lVert W_l \rVert_2 \sum_u (S^L 1)_u,
        \qquad S = D^{-1/2} (A + 1) D^{-1/2}

    for activations that enlarge no difference, and no row of X' further than eps from that of X. Divided by sigma it
    bounds the risk of `expected_robustness`. Orthonormal weights have the norm 1.

    Args:
        weights: the weights (C_out, C_in) of the L layers.
        edge_index: (2, E) int64.
        nodes: N.
        edge_weight: (E,), at least 0; None is 1.
        eps: radius, at least 0.

    Raises:
        InputError: there is no weight, eps is negative, or the graph is wrong.
    """
    if not weights:
        raise InputError("weights=[] must have one for each layer")
    check_not_negative("eps", eps)
    check_edges(edge_index, nodes)
    check_weights("edge_weight", edge_weight, edge_index.shape[1])
    edge_index, edge_weight = gcn_norm(edge_index, edge_weight, nodes, dtype=weights[0].dtype)
    walks = weights[0].new_ones(nodes, 1)
    for _ in weights:
        walks = propagate(walks, edge_index, edge_weight)
    norms = torch.stack([torch.linalg.matrix_norm(weight, 2) for weight in weights])
    return eps * norms.prod() * walks.sum()


def noise_attack(x: Tensor, budget: float, generator: torch.Generator | None = None) -> Tensor:
    r"""Return the features with normal noise of standard deviation :math:`b / \sqrt{C}`, a length of about b a node.

    Args:
        x: (N, C).
        budget: b, at least 0.
        generator: source of random numbers; None is torch's.

    Raises:
        InputError: the budget is negative.

    Reference:
        The published code of arXiv 2404.17947.
    """
    check_not_negative("budget", budget)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return x + budget / x.shape[1] ** 0.5 * noise


def gradient_attack(
    network: Network,
    x: Tensor,
    edge_index: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int = 20,
    nodes: Tensor | None = None,
) -> Tensor:
    r"""Return features within eps of each row of x that raise the loss as far as projected gradient ascent finds.

    A step of the length 2.5 eps / steps goes along the gradient of each row, scaled to length 1; then rows beyond the
    ball are drawn back to it.

    Args:
        network: function of features and edges to scores of classes, (N, classes), in evaluation mode.
        x: (N, C).
        edge_index: (2, E) int64.
        labels: (N,) int64.
        eps: radius, at least 0.
        steps: number of steps, at least 1.
        nodes: which nodes the loss is of, a mask or numbers; None is all.

    Raises:
        InputError: a number is out of range.

    Reference:
        Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", arXiv 1706.06083.
    """
    check_not_negative("eps", eps)
    check_at_least("steps", steps, 1)
    attacked = slice(None) if nodes is None else nodes
    change = torch.zeros_like(x)
    for _ in range(steps):
        change = change.detach().requires_grad_()
        loss = F.cross_entropy(network(x + change, edge_index)[attacked], labels[attacked])
        (slope,) = torch.autograd.grad(loss, change)
        change = change + 2.5 * eps / steps * F.normalize(slope, dim=1)
        change = change * (eps / change.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)).clamp_max(1)
    return x + change.detach()
