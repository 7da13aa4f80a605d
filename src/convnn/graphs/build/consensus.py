"""A graph that several views agree upon, generated from the features of the nodes (VGMGC, arXiv 2210.07011)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive, check_rate

_EPS = 1e-10
"""What is added to a number before its logarithm is taken."""
_SURE = 1e-6
"""How near to 0 and 1 a prior may come."""


class GraphGenerator(nn.Module):
    r"""Score all pairs of nodes from their features, and rebuild the features from what the scores are made of.

    .. math::
        h = \mathrm{ReLU}(\mathrm{MLP}(X)), \quad K = h W, \quad T = K h^\top, \quad
        a_i = T_i / \lVert T_i \rVert_2, \quad \hat X = \mathrm{sigmoid}(\mathrm{MLP}'(K))

    A node whose row of T is 0, where all ReLUs are, has the scores 0. Memory grows as N squared.

    Args:
        in_channels: F.
        hidden_channels: width inside both MLPs.
        latent_channels: L.
        temperature: of `soft` with noise, above 0; published 5 or 1.
        threshold: of `hard`, in (0, 1). Rows of scores have length one, so that most are near 0, and 0.5 asks for
            their sign; with :math:`\mathrm{sigmoid}(1) \approx 0.731` or more, as with the published default of 0.8,
            there is no edge.
        dropout: before each linear layer.

    Shapes:
        x (N, F); output scores (N, N), row i for the neighbours of node i, and features (N, F) in (0, 1).

    Raises:
        InputError: an argument is out of range, or x is not (N, F).

    Reference:
        "Variational Graph Generator for Multi-View Graph Clustering", arXiv 2210.07011, and its code, which draws
        biases about minus their deviation; here they are those of `torch.nn.Linear`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 512,
        latent_channels: int = 512,
        *,
        temperature: float = 5.0,
        threshold: float = 0.5,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        for name, value in (("in_", in_channels), ("hidden_", hidden_channels), ("latent_", latent_channels)):
            check_at_least(f"{name}channels", value, 1)
        check_positive("temperature", temperature)
        if not 0 < threshold < 1:
            raise InputError(f"threshold={threshold!r} must lie between 0 and 1, without them")
        check_rate("dropout", dropout)
        self.in_channels, self.temperature, self.threshold = in_channels, temperature, threshold
        self.encode = _mlp(in_channels, hidden_channels, latent_channels, dropout)
        self.mix = nn.Parameter(torch.empty(latent_channels, latent_channels))
        self.decode = _mlp(latent_channels, hidden_channels, in_channels, dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights as Glorot does, those of the MLPs for ReLU."""
        nn.init.xavier_normal_(self.mix)
        for part in (*self.encode, *self.decode):
            if isinstance(part, nn.Linear):
                part.reset_parameters()
                nn.init.xavier_uniform_(part.weight, gain=math.sqrt(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (N, F) to scores (N, N) and features (N, F)."""
        if x.dim() != 2 or x.shape[1] != self.in_channels:
            raise InputError(f"x of shape {tuple(x.shape)} must be (N, {self.in_channels}), a row for each node")
        latent = self.encode(x).relu()
        mixed = latent @ self.mix
        return F.normalize(mixed @ latent.T, dim=1), self.decode(mixed).sigmoid()

    def soft(self, scores: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return how probable each edge is; see `concrete_sigmoid`."""
        return concrete_sigmoid(scores, self.temperature, noise)

    def hard(self, scores: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the graph that is read, with the share of each neighbour; see `chosen_edges`."""
        return chosen_edges(self.soft(scores, noise), self.threshold)

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        return f"temperature={self.temperature}, threshold={self.threshold}"


def concrete_sigmoid(scores: Tensor, temperature: float, noise: Tensor | None = None) -> Tensor:
    r"""Return relaxed draws of edges, :math:`\mathrm{sigmoid}((\log u - \log(1 - u) + a) / \tau)`.

    Args:
        scores: a, of any shape.
        temperature: tau.
        noise: u of the same shape, uniform in [0, 1); without it the result is sigmoid(a), whatever the temperature.
    """
    if noise is None:
        return scores.sigmoid()
    return (((noise + _EPS).log() - (1 - noise + _EPS).log() + scores) / temperature).sigmoid()


def chosen_edges(probable: Tensor, threshold: float) -> Tensor:
    r"""Return :math:`B + I` over its row sums, where B has 1 where an edge is more probable than the threshold.

    The gradient of B is that of the probabilities, and the sums have none. A node that chooses itself counts twice.
    """
    straight = (probable > threshold).to(probable) + probable - probable.detach()
    looped = straight + torch.eye(probable.shape[-1], dtype=probable.dtype, device=probable.device)
    return looped / looped.sum(-1, keepdim=True).detach()


def view_prior(graphs: list[Tensor], beliefs: Tensor) -> Tensor:
    r"""Return how probable edges are to the views, (N, N).

    .. math:: p = \frac{\sum_v \bigl( b_v A^v + (1 - b_v)(1 - A^v + I) \bigr)}{\sum_v b_v}

    It may exceed 1 on the diagonal.

    Args:
        graphs: A of each view, (N, N) of 0 and 1.
        beliefs: b (V,), in [0, 1].
    """
    loops = torch.eye(graphs[0].shape[0], dtype=graphs[0].dtype, device=graphs[0].device)
    each = [belief * a + (1 - belief) * (1 - a + loops) for a, belief in zip(graphs, beliefs, strict=True)]
    return torch.stack(each).sum(0) / beliefs.sum()


def bernoulli_divergence(probable: Tensor, prior: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of edges from a prior, confined to (1e-6, 1 - 1e-6)."""
    prior = prior.clamp(_SURE, 1 - _SURE)
    there = torch.xlogy(probable, probable) - probable * prior.log()
    absent = torch.xlogy(1 - probable, 1 - probable) - (1 - probable) * (1 - prior).log()
    return (there + absent).mean()


def published_divergence(probable: Tensor, prior: Tensor, beliefs: Tensor) -> Tensor:
    r"""Return what the published code takes for the divergence, :math:`H(s) - \log p`, as a mean.

    The entropy H has the wrong sign, and the prior does not depend on the generator: it only learns to be sure.
    """
    absent = 1 - probable
    entropy = -probable * (probable + _EPS).log() - absent * (absent + _EPS).log()
    return (entropy - (prior + _EPS / beliefs.sum()).log()).mean()


def pagerank_view(adjacency: Tensor, *, restart: float = 0.2, threshold: float = 0.01) -> tuple[Tensor, Tensor]:
    r"""Return a second view of one graph: its personalised PageRank (N, N), and the graph of what is above a threshold.

    .. math:: \alpha \bigl( I - (1 - \alpha) D^{-1/2} (A + I) D^{-1/2} \bigr)^{-1}

    where D are the degrees with the loops.

    Args:
        adjacency: A (N, N), at least 0.
        restart: alpha, in (0, 1].
        threshold: of the entries that become edges.

    Raises:
        InputError: the adjacency is not square, or restart is out of range.
    """
    if adjacency.dim() != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise InputError(f"adjacency of shape {tuple(adjacency.shape)} must be (N, N)")
    if not 0 < restart <= 1:
        raise InputError(f"restart={restart!r} must be above 0 and at most 1")
    loops = torch.eye(adjacency.shape[0], dtype=adjacency.dtype, device=adjacency.device)
    looped = adjacency + loops
    roots = looped.sum(1).rsqrt()
    walk = roots[:, None] * looped * roots
    ranks = restart * torch.linalg.inv(loops - (1 - restart) * walk)
    return ranks, (ranks > threshold).to(adjacency)


def _mlp(in_channels: int, hidden_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(in_channels, hidden_channels),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden_channels, out_channels),
    )
