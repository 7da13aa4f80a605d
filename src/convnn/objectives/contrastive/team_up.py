"""Two views of the nodes of a graph, where nodes of strong communities count more: CSGCL."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_positive
from convnn.objectives.contrastive.engine import Pairs, check_views
from convnn.objectives.contrastive.scores import Cosine


def team_up_loss(
    h1: Tensor, h2: Tensor, node_strength: Tensor, gamma: float = 1.0, tau: float = 0.4, *, rows: int | None = None
) -> Tensor:
    r"""Return the contrast of two views of nodes, in which a node counts :math:`e^{\gamma s_j / \tau}` times.

    .. math:: \ell(a, b)_i = -\log \frac{w_i e^{a_i b_i / \tau}}
        {\sum_j w_j e^{a_i b_j / \tau} + \sum_{j \neq i} w_j e^{a_i a_j / \tau}}, \qquad w_j = e^{\gamma s_j / \tau}

    for rows a and b of unit length, as a mean over nodes and of both directions. With a gamma of 0 it is InfoNCE by
    cosine.

    Args:
        h1: (N, d) one view of each node, N at least 2.
        h2: (N, d) the other view.
        node_strength: (N,) s, of the community of each node, see `convnn.graphs.communities.community_strength`.
        gamma: how much the strengths count.
        tau: temperature, above 0.
        rows: nodes whose scores are alive at once, see `Pairs`.

    Returns:
        A number.

    Raises:
        InputError: shapes do not agree, there are fewer than 2 nodes, a strength is not finite, or tau is not positive.

    Reference:
        Chen et al., arXiv 2305.04658; its factor of the strength of the query cancels.
    """
    check_views(("h1", "h2"), h1, h2)
    check_positive("tau", tau)
    count = h1.shape[0]
    if node_strength.shape != (count,) or not bool(node_strength.isfinite().all()):
        raise InputError(
            f"node_strength of shape {tuple(node_strength.shape)} must be ({count},) and finite, one for each node"
        )
    own = torch.arange(count, device=h1.device)
    bias = (gamma / tau * node_strength).to(h1.dtype).repeat(2)

    def of_view(a: Tensor, b: Tensor) -> Tensor:
        pairs = Pairs(a, torch.cat([b, a]), Cosine(tau), own=own + count, bias=bias, rows=rows)
        return (pairs.log_partition() - pairs.at(own)).mean()

    return (of_view(h1, h2) + of_view(h2, h1)) / 2


def team_up_gamma(epoch: int, start: int = 500, largest: float = 1.0) -> float:
    """Return how much strengths count in an epoch: 0 until `start`, then more by 1 in 100 epochs, up to `largest`."""
    return min(max(0.0, (epoch - start) / 100), largest)


class CSGCLLoss(nn.Module):
    r"""Project the embeddings of two views by :math:`W_2 \operatorname{ELU}(W_1 z)`, and contrast them by team-up.

    Args:
        features: width of the embeddings.
        node_strength: (N,), see `team_up_loss`.
        hidden: width between the two linear maps, which return to `features`.
        tau: temperature.
        start: epoch until which strengths do not count.
        largest: what gamma grows to.
        rows: see `team_up_loss`.

    Raises:
        InputError: tau is not positive.

    Reference:
        Chen et al., arXiv 2305.04658.
    """

    terms: ClassVar[tuple[str, ...]] = ("contrast",)
    node_strength: Tensor

    def __init__(
        self,
        features: int,
        node_strength: Tensor,
        hidden: int = 32,
        *,
        tau: float = 0.4,
        start: int = 500,
        largest: float = 1.0,
        rows: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("tau", tau)
        self.head = nn.Sequential(nn.Linear(features, hidden), nn.ELU(), nn.Linear(hidden, features))
        self.register_buffer("node_strength", node_strength, persistent=False)
        self.tau, self.start, self.largest, self.rows = tau, start, largest, rows

    def forward(self, z1: Tensor, z2: Tensor, epoch: int) -> dict[str, Tensor]:
        """Map the embeddings (N, features) of two views of all nodes to {"contrast": a number}, for an epoch from 0."""
        gamma = team_up_gamma(epoch, self.start, self.largest)
        loss = team_up_loss(self.head(z1), self.head(z2), self.node_strength, gamma, self.tau, rows=self.rows)
        return {"contrast": loss}
