"""A learned score of the edges of a graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_choice
from convnn.ops import Neighbors, aggregate, weigh

EDGE_TYPES = ("distance", "pair", "pair_distance", "pair_weight", "difference", "edge_conv")
"""Those that tell neighbours apart even where all edges weigh alike."""
DISTANCE_SCALE = 0.05
"""By which distances of codes are multiplied, as published."""
EXTRA = {"pair": 2, "pair_distance": 3, "pair_weight": 1}
"""How many numbers follow the codes of both ends."""


class EdgeRanker(nn.Module):
    r"""Learned score between 0 and 1 of every edge in a list, from codes of its ends.

    .. math:: z = \operatorname{LeakyReLU}(W x + b), \qquad e_{ij} = \begin{cases}
        \exp(-0.05 \, \lVert z_i - z_j \rVert) & \text{distance} \\
        \sigma(u \cdot \operatorname{LeakyReLU}(A [z_i, z_j, n_i, n_j] + a) + c) & \text{pair} \\
        \sigma(u \cdot \operatorname{LeakyReLU}(A [z_i, z_j, n_i, n_j, e^{-\lVert z_i - z_j \rVert}] + a) + c)
        & \text{pair_distance} \\
        \sigma(u \cdot \operatorname{LeakyReLU}(A [z_i, z_j, w_{ij}] + a) + c) & \text{pair_weight} \\
        \sigma(\sum \operatorname{LeakyReLU}(A (z_i - z_j) + a)) & \text{difference} \\
        \sigma(u \cdot (\Theta (z_j - z_i) + \Phi z_i + a) + c) & \text{edge_conv} \\
        \sigma(u \, w_{ij} + c) & \text{weight} \end{cases}

    with n the degrees of the nodes, which are their numbers of candidates, and w the weights of the edges, which are
    given as scores of the neighbours, and are 1 without them.

    Args:
        channels: number of channels of the nodes.
        latent_channels: number of channels of their codes.
        edge_type: one of the forms above.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Saha et al., "Learning Adaptive Neighborhoods for Graph Neural Networks", arXiv 2307.09065: the edge ranker, and
        the other forms of its published code.
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
        check_choice("edge_type", edge_type, (*EDGE_TYPES, "weight"))
        self.edge_type = edge_type
        half = max(1, latent_channels // 2)
        if edge_type != "weight":
            self.encode = nn.Linear(channels, latent_channels, device=device, dtype=dtype)
        if edge_type == "difference":
            self.edge = nn.Linear(latent_channels, latent_channels, device=device, dtype=dtype)
        if edge_type in EXTRA:
            inputs = 2 * latent_channels + EXTRA[edge_type]
            self.edge = nn.Linear(inputs, latent_channels, device=device, dtype=dtype)
        if edge_type == "edge_conv":
            self.offset = nn.Linear(latent_channels, half, device=device, dtype=dtype)
            self.own = nn.Linear(latent_channels, half, device=device, dtype=dtype)
        hidden = {"edge_conv": half, "weight": 1} | dict.fromkeys(EXTRA, latent_channels)
        if edge_type in hidden:
            self.score = nn.Linear(hidden[edge_type], 1, device=device, dtype=dtype)

    def forward(
        self, rows: Tensor, positions: Tensor, neighbors: Neighbors, degrees: Tensor, backend: str = "auto"
    ) -> Neighbors:
        """Return the neighbours (B, N, K) of the nodes at N positions, scored; nodes are (B, T, C), degrees (B, T)."""
        weights = rows.new_ones(neighbors.indices.shape) if neighbors.scores is None else neighbors.scores
        if self.edge_type == "weight":
            return neighbors._replace(scores=self.score(weights.unsqueeze(-1)).squeeze(-1).sigmoid())
        codes = F.leaky_relu(self.encode(rows))
        match self.edge_type:
            case "distance":
                scores = (DISTANCE_SCALE * _nearness(codes, positions, neighbors, backend)).exp()
            case "difference":
                there = F.linear(codes, self.edge.weight)
                away = (there + self.edge.bias)[:, positions, None] - aggregate.gather(there, neighbors)
                scores = F.leaky_relu(away).sum(-1).sigmoid()
            case "edge_conv":
                there = F.linear(codes, self.offset.weight)
                here = (self.own(codes) + self.offset.bias - there)[:, positions, None]
                scores = self.score(here + aggregate.gather(there, neighbors)).squeeze(-1).sigmoid()
            case _:
                of_edge = weights if self.edge_type == "pair_weight" else None
                if self.edge_type == "pair_distance":
                    of_edge = _nearness(codes, positions, neighbors, backend).exp()
                of_nodes = None if self.edge_type == "pair_weight" else degrees
                scores = self._of_pairs(codes, positions, neighbors, of_nodes, of_edge)
        return neighbors._replace(scores=scores)

    def _of_pairs(
        self, codes: Tensor, positions: Tensor, neighbors: Neighbors, of_nodes: Tensor | None, of_edge: Tensor | None
    ) -> Tensor:
        """Compute scores from both codes, an optional number for each, and an optional number for the edge."""
        width = codes.shape[-1]
        first, second, *columns = self.edge.weight.split([width, width, *[1] * EXTRA[self.edge_type]], dim=1)
        here, there = F.linear(codes, first, self.edge.bias), F.linear(codes, second)
        if of_nodes is not None:
            here = here + of_nodes.unsqueeze(-1) * columns[0].mT
            there = there + of_nodes.unsqueeze(-1) * columns[1].mT
        hidden = here[:, positions, None] + aggregate.gather(there, neighbors)
        if of_edge is not None:
            hidden = hidden + of_edge.unsqueeze(-1) * columns[-1].mT
        return self.score(F.leaky_relu(hidden)).squeeze(-1).sigmoid()


def _nearness(codes: Tensor, positions: Tensor, neighbors: Neighbors, backend: str) -> Tensor:
    """Return minus the distance of the codes of every edge, (B, N, K)."""
    far = weigh.similarity(neighbors, codes[:, positions], codes, metric="euclidean", backend=backend)
    far = weigh.root(far)
    assert far.scores is not None
    return far.scores
