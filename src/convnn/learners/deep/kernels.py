"""Kernels as layers: a Gram triple of features becomes that of the features of a kernel."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_choice, check_not_negative
from convnn.learners.deep.gram import Gram
from convnn.learners.kernels import ArcCosine, Gaussian, GramKernel, Linear


class KernelLayer(nn.Module):
    r"""A kernel that is a function of inner products, applied to a triple.

    Afterwards the diagonal of `ii`, and `t`, become :math:`(1 + m) k + a`, so that there is a Cholesky factor.

    Args:
        kernel: the kernel.
        mult_eps: m, at least 0.
        abs_eps: a, at least 0.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, kernel: GramKernel, *, mult_eps: float = 1e-4, abs_eps: float = 1e-4) -> None:
        super().__init__()
        if not isinstance(kernel, GramKernel):
            raise InputError(f"kernel={kernel!r} must be a function of inner products, such as Gaussian()")
        check_not_negative("mult_eps", mult_eps)
        check_not_negative("abs_eps", abs_eps)
        self.kernel, self.mult_eps, self.abs_eps = kernel, mult_eps, abs_eps

    def forward(self, gram: Gram) -> Gram:
        """Return the triple of the kernel."""
        found = self._of_kernel(gram)
        own = self._lifted(found.ii.diagonal())
        return found._replace(ii=found.ii.diagonal_scatter(own), t=self._lifted(found.t))

    def _of_kernel(self, gram: Gram) -> Gram:
        return self._between(gram, gram.ii.diagonal(), gram.t)

    def _between(self, gram: Gram, own: Tensor, t: Tensor) -> Gram:
        """Return the triple of the kernel, of inner products (P,) and (B, ...) of points with themselves."""
        apart = gram.ii - gram.ii.diagonal().diag_embed()  # at distance 0 some kernels have no slope
        ii = self.kernel.of_gram(apart, own, own).diagonal_scatter(self.kernel.of_own(own))
        return Gram(ii, self.kernel.of_gram(gram.ti, t, own), self.kernel.of_own(t), gram.cost)

    def _lifted(self, own: Tensor) -> Tensor:
        return own * (1 + self.mult_eps) + self.abs_eps


class ReLUKernelLayer(KernelLayer):
    r"""The kernel of infinitely many ReLUs, :math:`v \cdot k + b`, with learned variances of weights and biases.

    k is twice the expected product of two units. Inner products of points with themselves become
    :math:`(1 + m) k + a` before the kernel as well, so that no two points have angle 0.

    Args:
        weight_variance: v at the start, positive.
        bias_variance: b at the start, positive.
        mult_eps: m, at least 0.
        abs_eps: a, at least 0.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        weight_variance: float = 1.0,
        bias_variance: float = 0.1,
        *,
        mult_eps: float = 1e-4,
        abs_eps: float = 1e-4,
    ) -> None:
        super().__init__(ArcCosine(1), mult_eps=mult_eps, abs_eps=abs_eps)
        if not (weight_variance > 0 and bias_variance > 0):
            raise InputError(f"weight_variance={weight_variance} and bias_variance={bias_variance} must be positive")
        self.log_weight_variance = nn.Parameter(torch.tensor(math.log(weight_variance)))
        self.log_bias_variance = nn.Parameter(torch.tensor(math.log(bias_variance)))

    def _of_kernel(self, gram: Gram) -> Gram:
        found = self._between(gram, self._lifted(gram.ii.diagonal()), self._lifted(gram.t))
        scale, bias = self.log_weight_variance.exp(), self.log_bias_variance.exp()
        return Gram(found.ii * scale + bias, found.ti * scale + bias, gram.t * scale + bias, gram.cost)


LAYERS: dict[str, Callable[..., KernelLayer]] = {
    "squared_exponential": lambda **eps: KernelLayer(Gaussian(), **eps),
    "relu": ReLUKernelLayer,
    "linear": lambda **eps: KernelLayer(Linear(), **eps),
}
"""Kernels by name; of unit length scale, and of points divided by the root of their width."""


def kernel_layer(kernel: str | GramKernel, jitter: float) -> KernelLayer:
    """Return the layer of a kernel.

    Args:
        kernel: a name in `LAYERS`, or a kernel that is a function of inner products.
        jitter: both `mult_eps` and `abs_eps`.

    Raises:
        InputError: there is no such kernel, or the jitter is negative.
    """
    check_not_negative("jitter", jitter)
    eps = {"mult_eps": jitter, "abs_eps": jitter}
    if not isinstance(kernel, str):
        return KernelLayer(kernel, **eps)
    check_choice("kernel", kernel, LAYERS)
    return LAYERS[kernel](**eps)
