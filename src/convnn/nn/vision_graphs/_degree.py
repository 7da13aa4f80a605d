"""A learned number of neighbours for each node of a graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_choice
from convnn.ops import Neighbors, aggregate

DEGREE_TYPES = ("features", "graph", "degree", "scores")


class DegreeEstimator(nn.Module):
    r"""The learned number of neighbours of each node, at least 1.

    .. math:: k_i = 1 + \operatorname{ReLU}(s \, o_i + \mu), \qquad o_i = W_4 W_3 f_i, \qquad
        f_i = \begin{cases} \operatorname{LeakyReLU}(W_2 [h_i, \hat n_i]) & \text{features} \\
        \operatorname{LeakyReLU}(W_2 [\operatorname{ReLU}(\sum_j w_{ij} (n_i n_j)^{-1/2} h_j M), \hat n_i])
        & \text{graph} \\ W_2 \, \hat n_i & \text{degree} \end{cases}

    with :math:`h = \operatorname{LeakyReLU}(W_1 x)`, each W with its bias, and :math:`\hat n = (n - \mu) / s`, where
    :math:`\mu` and s are mean and standard deviation of the degrees n in the data. With "scores" it is
    computed from the scores e of the edges instead, and can be below 1:
    :math:`k_i = \operatorname{LeakyReLU}(a \sum_j e_{ij} + b)`.

    Args:
        channels: number of channels of the nodes.
        latent_channels: number of channels of the first hidden layer; the next two have half and a quarter of them.
        degree_type: input of the estimate: "features", "graph", "degree" or "scores".
        stochastic: in training, draw :math:`W_3 f` from a normal distribution with a learned variance.
        eps: term added to s in the quotient.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        InputError: the type is unknown.

    Reference:
        arXiv 2307.09065, the degree estimator, and the other forms of its published code.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int = 64,
        degree_type: str = "features",
        stochastic: bool = False,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice("degree_type", degree_type, DEGREE_TYPES)
        self.degree_type = degree_type
        self.eps = eps
        self.log_variance: nn.Linear | None = None
        if degree_type == "scores":
            self.total = nn.Linear(1, 1, device=device, dtype=dtype)
            return
        by_features = degree_type != "degree"
        half = max(1, latent_channels // 2) if by_features else 3
        quarter = max(1, latent_channels // 4)
        self.encode = nn.Linear(channels, latent_channels, device=device, dtype=dtype) if by_features else None
        if degree_type == "graph":
            self.mix = nn.Parameter(torch.rand(latent_channels, latent_channels, device=device, dtype=dtype))
        self.hidden = nn.Linear(latent_channels + 1 if by_features else 1, half, device=device, dtype=dtype)
        self.mean = nn.Linear(half, quarter, device=device, dtype=dtype)
        if stochastic:
            self.log_variance = nn.Linear(half, quarter, device=device, dtype=dtype)
        self.project = nn.Linear(quarter, 1, device=device, dtype=dtype)

    def forward(
        self,
        rows: Tensor,
        positions: Tensor,
        ranked: Neighbors,
        degrees: Tensor,
        mean: Tensor | float,
        deviation: Tensor | float,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the number of neighbours of the nodes at N positions, (B, N).

        Nodes are (B, T, C), neighbours (B, N, K) with the scores of their edges, degrees (B, T), whose mean and
        deviation are given, and weights (B, N, K) of the edges; None is 1.
        """
        if self.degree_type == "scores":
            assert ranked.scores is not None
            total = ranked.scores.sum(-1, keepdim=True).to(self.total.weight.dtype)
            return F.leaky_relu(self.total(total)).squeeze(-1)
        normalised = ((degrees[:, positions] - mean) / (deviation + self.eps)).unsqueeze(-1)
        if self.encode is None:
            hidden = self.hidden(normalised)
        else:
            codes = F.leaky_relu(self.encode(rows))
            own = codes[:, positions]
            if self.degree_type == "graph":
                own = F.relu(self._mean_around(codes, positions, ranked, degrees, weights) @ self.mix)
            hidden = F.leaky_relu(self.hidden(torch.cat([own, normalised], dim=-1)))
        wish = self.project(self._latent(hidden)).squeeze(-1)
        return F.relu(wish * deviation + mean) + 1

    def _latent(self, hidden: Tensor) -> Tensor:
        mean = self.mean(hidden)
        if self.log_variance is None or not self.training:
            return mean
        return mean + (self.log_variance(hidden) / 2).exp() * torch.randn_like(mean)

    def _mean_around(
        self, codes: Tensor, positions: Tensor, ranked: Neighbors, degrees: Tensor, weights: Tensor | None
    ) -> Tensor:
        """Sum the codes of the neighbours, divided by the root of both degrees, as a graph convolution does."""
        roots = degrees.rsqrt()
        around = torch.gather(roots, 1, ranked.indices.flatten(1)).view(ranked.indices.shape)
        shares = roots[:, positions].unsqueeze(-1) * around
        neighbors = ranked._replace(scores=shares if weights is None else shares * weights)
        return aggregate.weighted_sum(codes, neighbors)
