"""The layer of a deep kernel machine that learns: its Gram matrix."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_positive
from convnn.learners.deep.gram import Gram, GramModule, divergence, factor


class GramLayer(GramModule):
    r"""A learned Gram matrix of the inducing points, and the points moved with them.

    .. math:: G = e^s \, V V^T / P, \quad t_i' = w G, \quad t' = t - w \cdot t_i + w G w^T, \quad w = t_i K^{-1}

    It costs :math:`\nu \, \mathrm{KL}(N(0, G) \,\|\, N(0, K))`, which is 0 if it is the matrix K that comes in: there
    the layer is the identity, and infinite :math:`\nu` holds it there. `start` puts layers there.

    Args:
        inducing: P.
        dof: nu, the relative width of the layer, positive; how much the kernel holds against what is learned.
        name: of the layer, in messages.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Yang et al., "A theory of representation learning gives a deep generalisation of kernel methods",
        arXiv 2108.13097; with inducing points, Milsom, Anson and Aitchison, arXiv 2309.09814.
    """

    def __init__(self, inducing: int, dof: float = 1.0, *, name: str = "a Gram layer") -> None:
        super().__init__(inducing)
        check_dof(dof)
        self.dof, self.name = dof, name
        self.root = nn.Parameter(math.sqrt(inducing) * torch.eye(inducing))
        self.log_scale = nn.Parameter(torch.zeros(()))

    @property
    def covariance(self) -> Tensor:
        """G (P, P)."""
        return self.log_scale.exp() * self.root @ self.root.T / self.inducing

    @torch.no_grad()
    def become(self, covariance: Tensor) -> None:
        """Make G a matrix (P, P), which is symmetric and positive definite.

        Raises:
            UnsupportedError: it is not.
        """
        self.root.copy_(math.sqrt(self.inducing) * factor(covariance, f"the kernel before {self.name}"))
        self.log_scale.zero_()

    def forward(self, gram: Gram) -> Gram:
        """Return the triple with the learned matrix.

        Raises:
            InputError: another number of inducing points comes in.
            UnsupportedError: a matrix is not positive definite.
        """
        self.check(gram)
        prior = factor(gram.ii, f"the kernel before {self.name}")
        learned = self.covariance
        ti, t = gram.moved(gram.weights(prior), learned)
        cost = self.dof * divergence(factor(learned, f"the matrix of {self.name}"), prior)
        return Gram(learned, ti, t, gram.cost + cost)


def check_dof(dof: float) -> None:
    """Check the relative width of a layer that learns.

    Raises:
        InputError: it is not a positive number.
    """
    if dof == math.inf:
        raise InputError("dof=inf must be finite; a network of infinite width has no Gram layers")
    check_positive("dof", dof)


@torch.no_grad()
def start(network: nn.Module, x: Tensor) -> None:
    """Make each Gram layer of a network the identity, with cost 0, by one pass of points or images x."""

    def become(layer: Any, inputs: tuple[Gram]) -> None:
        layer.become(inputs[0].ii)

    hooks = [layer.register_forward_pre_hook(become) for layer in network.modules() if isinstance(layer, GramLayer)]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
