"""How alike two nodes of a graph are, and how many neighbours a node wishes for: both learned."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.backends.reference import gather
from convnn.errors import check_at_least, check_choice
from convnn.ops import Neighbors, weigh

EDGE_TYPES = ("distance", "pair", "difference")
DISTANCE_SCALE = 0.05
"""By which distances of codes are multiplied, as published."""


class EdgeRanker(nn.Module):
    r"""Score of every edge of a list, between 0 and 1, from codes of its ends.

    .. math:: z = \operatorname{LeakyReLU}(W x + b), \qquad e_{ij} = \begin{cases}
        \exp(-0.05 \, \lVert z_i - z_j \rVert) & \text{distance} \\
        \sigma(u \cdot \operatorname{LeakyReLU}(A [z_i, z_j, n_i, n_j] + a) + c) & \text{pair} \\
        \sigma(\sum \operatorname{LeakyReLU}(A (z_i - z_j) + a)) & \text{difference} \end{cases}

    with n the degrees of the nodes, how many neighbours there are to choose from.

    Args:
        channels: of the nodes.
        latent_channels: of their codes.
        edge_type: "distance", "pair" or "difference".
        device: where the weights live.
        dtype: of the weights.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Saha et al., "Learning Adaptive Neighborhoods for Graph Neural Networks", arXiv 2307.09065: the edge ranker, and
        two more forms of its published code.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int = 64,
        edge_type: str = "distance",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("latent_channels", latent_channels, 1)
        check_choice("edge_type", edge_type, EDGE_TYPES)
        self.edge_type = edge_type
        self.encode = nn.Linear(channels, latent_channels, device=device, dtype=dtype)
        if edge_type != "distance":
            inputs = 2 * latent_channels + 2 if edge_type == "pair" else latent_channels
            self.edge = nn.Linear(inputs, latent_channels, device=device, dtype=dtype)
        if edge_type == "pair":
            self.score = nn.Linear(latent_channels, 1, device=device, dtype=dtype)

    def forward(
        self, rows: Tensor, positions: Tensor, neighbors: Neighbors, degrees: Tensor, backend: str = "auto"
    ) -> Neighbors:
        """Neighbours (B, N, K) of the nodes at N positions, with scores; nodes are (B, T, C), degrees (B, T)."""
        codes = F.leaky_relu(self.encode(rows))
        if self.edge_type == "distance":
            far = weigh.similarity(neighbors, codes[:, positions], codes, metric="euclidean", backend=backend)
            far = weigh.root(far)
            assert far.scores is not None
            return far._replace(scores=(DISTANCE_SCALE * far.scores).exp())
        if self.edge_type == "difference":
            there = F.linear(codes, self.edge.weight)
            hidden = F.leaky_relu((there + self.edge.bias)[:, positions, None] - gather(there, neighbors.indices))
            return neighbors._replace(scores=hidden.sum(-1).sigmoid())
        width = codes.shape[-1]
        first, second, own, other = self.edge.weight.split([width, width, 1, 1], dim=1)
        here = F.linear(codes, first, self.edge.bias) + degrees.unsqueeze(-1) * own.mT
        there = F.linear(codes, second) + degrees.unsqueeze(-1) * other.mT
        hidden = F.leaky_relu(here[:, positions, None] + gather(there, neighbors.indices))
        return neighbors._replace(scores=self.score(hidden).squeeze(-1).sigmoid())


class DegreeEstimator(nn.Module):
    r"""How many neighbours each node wishes for, at least 1.

    .. math:: k_i = 1 + \operatorname{ReLU}(s \, o_i + \mu), \qquad o_i = W_4 W_3 \operatorname{LeakyReLU}
        (W_2 [\operatorname{LeakyReLU}(W_1 x_i), (n_i - \mu) / s])

    each W with its bias; :math:`\mu` and s are mean and standard deviation of the degrees n in the data.

    Args:
        channels: of the nodes; 0: the degree alone is read, and W_2 is a linear map of it without LeakyReLU.
        latent_channels: of the first hidden layer; half of them, and a quarter, in those behind.
        device: where the weights live.
        dtype: of the weights.

    Reference:
        arXiv 2307.09065, the degree estimator.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int = 64,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        half = max(1, latent_channels // 2) if channels else 3
        quarter = max(1, latent_channels // 4)
        self.encode = nn.Linear(channels, latent_channels, device=device, dtype=dtype) if channels else None
        inputs = latent_channels + 1 if channels else 1
        self.hidden = nn.Linear(inputs, half, device=device, dtype=dtype)
        self.mean = nn.Linear(half, quarter, device=device, dtype=dtype)
        self.project = nn.Linear(quarter, 1, device=device, dtype=dtype)

    def forward(self, rows: Tensor, degrees: Tensor, mean: Tensor | float, deviation: Tensor | float) -> Tensor:
        """Nodes (B, N, C) with degrees (B, N), whose mean and deviation are given: (B, N)."""
        normalised = ((degrees - mean) / (deviation + 1e-5)).unsqueeze(-1)
        if self.encode is None:
            hidden = self.hidden(normalised)
        else:
            hidden = F.leaky_relu(self.hidden(torch.cat([F.leaky_relu(self.encode(rows)), normalised], dim=-1)))
        wish = self.project(self.mean(hidden)).squeeze(-1)
        return F.relu(wish * deviation + mean) + 1
