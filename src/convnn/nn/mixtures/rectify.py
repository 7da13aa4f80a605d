"""ReLU of a mixture, which is fitted by a mixture of as many components or fewer."""

from torch import nn

from convnn.errors import check_at_least, check_choice
from convnn.ops import mixtures
from convnn.ops.mixtures import Mixture

REDUCTIONS = {"absorb": mixtures.absorb, "largest": mixtures.keep_largest}
"""How components become fewer after the fit."""


class MixtureReLU(nn.Module):
    r"""Fit the positive part of mixtures (`convnn.ops.mixtures.rectify`), and keep the largest components.

    Args:
        components: K, the number of components to keep, at least 1; None: all.
        reduction: "absorb": those kept absorb the others in a step of expectation maximisation; "largest": the others
            are left out.

    Raises:
        InputError: an argument is out of range; in forward: a covariance is not positive definite.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153.
    """

    def __init__(self, components: int | None = None, reduction: str = "absorb") -> None:
        super().__init__()
        if components is not None:
            check_at_least("components", components, 1)
        check_choice("reduction", reduction, REDUCTIONS)
        self.components, self.reduction = components, reduction

    def forward(self, x: Mixture) -> Mixture:
        """Map mixtures (B, C, N) to (B, C, K), or without K to (B, C, N)."""
        fitted = mixtures.rectify(x)
        return fitted if self.components is None else REDUCTIONS[self.reduction](fitted, self.components)

    def extra_repr(self) -> str:
        """Return how many components are kept, and how."""
        return f"components={self.components}, reduction={self.reduction!r}"
