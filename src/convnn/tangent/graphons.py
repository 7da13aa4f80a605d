r"""Graphons, the limits of dense graphs, and kernels that graphs of growing size approach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice

KINDS = ("template", "weighted", "stochastic")


class GraphonSample(NamedTuple):
    """A graph drawn from a graphon.

    Attributes:
        adjacency: (n, n), symmetric.
        positions: (n,) of the nodes in [0, 1], ascending.
    """

    adjacency: Tensor
    positions: Tensor


def graphon_sample(
    W: Callable[[Tensor, Tensor], Tensor], n: int, kind: str = "template", generator: torch.Generator | None = None
) -> GraphonSample:
    r"""Draw a graph of n nodes from a graphon :math:`W: [0, 1]^2 \to [0, 1]`, float64.

    Args:
        W: symmetric function of two tensors that broadcast; it may return a number, the same everywhere.
        n: nodes, at least 1.
        kind: "template", nodes at (i + 1/2) / n and edges of weight W; "weighted", nodes anywhere with equal chance;
            "stochastic", edges of weight 1 with the chance W between such nodes, and none from a node to itself.
        generator: of random numbers: n positions, then one for each entry of the adjacency.

    Raises:
        InputError: the kind is unknown, n is less than 1, or W is not symmetric, negative or, as a chance, above 1.
    """
    check_choice("kind", kind, KINDS)
    check_at_least("n", n, 1)
    if kind == "template":
        positions = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    else:
        positions = torch.rand(n, generator=generator, dtype=torch.float64).sort().values
    weights = torch.as_tensor(W(positions[:, None], positions)).to(positions).expand(n, n)
    most = 1.0 if kind == "stochastic" else torch.inf
    if not bool(((weights >= 0) & (weights <= most)).all()):
        wrong = weights[~((weights >= 0) & (weights <= most))][0].item()
        raise InputError(f"W has the value {wrong}, which must be at least 0 and, as a chance, at most 1")
    if not torch.allclose(weights, weights.T):
        raise InputError("W must be symmetric, W(u, v) = W(v, u)")
    if kind != "stochastic":
        return GraphonSample(weights, positions)
    is_edge = (torch.rand(n, n, generator=generator, dtype=torch.float64) < weights).triu(1)
    return GraphonSample((is_edge | is_edge.T).to(weights), positions)


@dataclass(frozen=True)
class StepGraphon:
    r"""A graphon that is constant on blocks, the limit of a stochastic block model.

    The tangent kernel of its limit is exact, `gntk(graphon.operator, x, normalization=None)` of one row of x a block:
    that of two points is the one of their blocks.

    Args:
        values: B (q, q), symmetric.
        measures: p (q,), the widths of the blocks, positive, whose sum is 1.

    Raises:
        InputError: a shape is another, values are not symmetric, or measures are no shares.
    """

    values: Tensor
    measures: Tensor

    def __post_init__(self) -> None:
        count = self.measures.shape[0] if self.measures.dim() == 1 else -1
        if self.values.shape != (count, count) or not torch.allclose(self.values, self.values.T):
            raise InputError(
                f"values of shape {tuple(self.values.shape)} must be symmetric and (q, q), of q measures, which have"
                f" shape {tuple(self.measures.shape)}"
            )
        if not bool((self.measures > 0).all()) or abs(self.measures.sum().item() - 1) > 1e-6:
            raise InputError(f"measures={self.measures.tolist()} must be positive shares whose sum is 1")

    def block_of(self, positions: Tensor) -> Tensor:
        """Return the numbers of the blocks of positions in [0, 1], of any shape."""
        ends = self.measures.cumsum(0)[:-1].to(positions)
        return torch.searchsorted(ends, positions.contiguous(), right=True)

    def __call__(self, u: Tensor, v: Tensor) -> Tensor:
        """Return the values between positions, which broadcast."""
        return self.values[self.block_of(u), self.block_of(v)]

    @property
    def operator(self) -> Tensor:
        r"""What the graphon does to functions that are constant on blocks: :math:`B\, \text{diag}(p)`."""
        return self.values * self.measures


def gntk_spectrum(kernel: Tensor, measures: Tensor | None = None) -> Tensor:
    r"""Return the eigenvalues of the integral operator of a kernel, in descending order.

    They are those of :math:`\Theta / n`, or, of nodes that stand for shares p, of
    :math:`\text{diag}(\sqrt p)\, \Theta\, \text{diag}(\sqrt p)`.

    Args:
        kernel: symmetric (n, n).
        measures: p (n,), at least 0; None is 1 / n of each.

    Raises:
        InputError: the kernel is not symmetric, or measures have another shape or are negative.
    """
    if kernel.dim() != 2 or not kernel.numel() or kernel.shape[0] != kernel.shape[1]:
        raise InputError(f"kernel of shape {tuple(kernel.shape)} must be (n, n)")
    if not torch.allclose(kernel, kernel.T, rtol=1e-6):
        raise InputError("kernel must be symmetric, such as that of one signal with itself")
    n = kernel.shape[0]
    if measures is None:
        return torch.linalg.eigvalsh(kernel / n).flip(0)
    if measures.shape != (n,) or not bool((measures >= 0).all()):
        raise InputError(f"measures of shape {tuple(measures.shape)} must be ({n},) and at least 0")
    roots = measures.to(kernel).sqrt()
    return torch.linalg.eigvalsh(roots[:, None] * kernel * roots).flip(0)
