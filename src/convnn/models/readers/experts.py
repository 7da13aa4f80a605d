"""A mixture of small networks of which each token goes through the few that its gate prefers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least


class TopKExperts(nn.Module):
    r"""Sum the outputs of the k experts with the highest gates, weighted by the softmax of those k alone.

    .. math:: y = \sum_{e \in \operatorname{top}_k(g)} \operatorname{softmax}(g)_e \,
        (W''_e \operatorname{relu}(W'_e z + b'_e) + b''_e), \qquad g = W z + b

    With k = 1 the softmax is 1, and the gate learns nothing. With all experts it is a mixture of networks.

    Args:
        dim: d.
        hidden: channels within an expert.
        num_experts: number of experts.
        k: experts for each token, 1 to num_experts.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Shazeer et al., arXiv 1701.06538; the gate and the experts are those of FastMoE, arXiv 2103.13262.
    """

    def __init__(self, dim: int, hidden: int, num_experts: int, k: int = 2) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("hidden", hidden), ("num_experts", num_experts), ("top_k", k)):
            check_at_least(name, value, 1)
        if k > num_experts:
            raise InputError(f"top_k={k} must be at most {num_experts}, the number of experts")
        self.k = k
        self.gate = nn.Linear(dim, num_experts)
        self.into = nn.ModuleList(nn.Linear(dim, hidden) for _ in range(num_experts))
        self.out = nn.ModuleList(nn.Linear(hidden, dim) for _ in range(num_experts))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights by Kaiming's uniform distribution; biases begin at 0."""
        for linear in (self.gate, *self.into, *self.out):
            linear.reset_parameters()
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (..., d) to tokens (..., d)."""
        rows = x.reshape(-1, x.shape[-1])
        values, chosen = self.gate(rows).topk(self.k, dim=1)
        shares = values.softmax(dim=1)
        total = torch.zeros_like(rows)
        for number, (into, out) in enumerate(zip(self.into, self.out, strict=True)):
            row, rank = torch.where(chosen == number)
            total = total.index_add(0, row, shares[row, rank, None] * out(F.relu(into(rows[row]))))
        return total.view_as(x)
