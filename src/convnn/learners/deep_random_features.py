r"""Random features of several layers, of which only a last one is learned, and the kernel that they approach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.learners.activation_duals import Activation, Activationish, activations_of
from convnn.learners.base import Learner
from convnn.learners.kernels import GramKernel


@dataclass
class NNGP(GramKernel):
    r"""The kernel of a random network whose layers are all infinitely wide, a Gaussian process.

    .. math:: \Sigma^0 = x \cdot y, \qquad \Sigma^l(x, y) = E[\sigma_l(u) \sigma_l(v)], \quad (u, v) \sim
        N\left(0, s_w^2 \begin{pmatrix} \Sigma^{l-1}(x, x) & \Sigma^{l-1}(x, y) \\ \Sigma^{l-1}(y, x) &
        \Sigma^{l-1}(y, y) \end{pmatrix} + s_b^2\right)

    ReLU halves the kernel in each layer; sigma_w of the square root of 2 keeps it. Without a bias, a point of 0 has the
    correlation 0 with all others, so that the kernel of step is 1/4 there, while its features are 0.

    Args:
        activation: a name (relu, step, sign, erf, cos, sin, fourier), or a function of tensors, which is integrated;
            one for all layers, or a sequence of one for each.
        layers: hidden layers L, at least 1.
        sigma_w: s_w, standard deviation of the weights, positive.
        sigma_b: s_b, that of the biases, at least 0.

    Raises:
        InputError: a hyperparameter is out of range.

    References:
        Cho and Saul, "Kernel methods for deep learning", NeurIPS 2009. Lee et al., "Deep neural networks as Gaussian
        processes", arXiv 1711.00165, equation 4.
    """

    activation: Activationish | Sequence[Activationish] = "relu"
    layers: int = 1
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def __post_init__(self) -> None:
        check_at_least("layers", self.layers, 1)
        activations_of(self.activation, self.layers)
        check_positive("sigma_w", self.sigma_w)
        check_not_negative("sigma_b", self.sigma_b)

    def of_gram(self, xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
        """Return the kernel (n, m) of inner products (n, m), and of those of the points with themselves (n,), (m,)."""
        xx, yy = xx.unsqueeze(-1), yy.unsqueeze(-2)
        for activation in activations_of(self.activation, self.layers):
            a, b, s = (self.sigma_w**2 * each + self.sigma_b**2 for each in (xx, yy, xy))
            xx, yy, xy = activation.dual(a, a, a), activation.dual(b, b, b), activation.dual(a, b, s)
        return xy


def nngp_kernel(
    X: Any,
    Z: Any = None,
    activation: Activationish | Sequence[Activationish] = "relu",
    layers: int = 1,
    *,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
) -> Any:
    """Return the kernel `NNGP` (n, m) of points X (n, d) and Z (m, d), by default X: a tensor of tensors, or an array.

    Args:
        X: points.
        Z: other points.
        activation: of `NNGP`.
        layers: of `NNGP`.
        sigma_w: of `NNGP`.
        sigma_b: of `NNGP`.

    Raises:
        InputError: an argument is out of range.
    """
    kernel, Z = NNGP(activation, layers, sigma_w, sigma_b), X if Z is None else Z
    return kernel.block(X, Z) if isinstance(X, Tensor) else kernel(X, Z)


class MultiLayerRandomFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Learner):
    r"""The last hidden layer of a random network, which a linear model after it turns into a network half trained.

    .. math:: u^1 = s_w W^1 x + s_b b^1, \qquad u^l = \frac{s_w}{\sqrt{T_{l-1}}} W^l h^{l-1} + s_b b^l, \qquad
        h^l = \sigma_l(u^l), \qquad \phi(x) = h^L / \sqrt{T_L}

    with standard normal weights and biases that `fit` draws, whatever the data. :math:`\phi(x) \cdot \phi(y)` goes to
    the kernel `NNGP`, the attribute `kernel_`, and the error falls as one over the square root of the widths. Before
    `Ridge(fit_intercept=False)` in a pipeline it goes to `KernelRidge` with that kernel.

    Points are arrays, or tensors: those stay where they are, and gradients pass. With fourier, :math:`b^l` is uniform
    in :math:`[0, 2\pi)`, and not scaled.

    Args:
        widths: T_1 to T_L, each at least 1.
        activation: a name (relu, step, sign, erf, cos, sin, fourier), or a function of tensors; one for all layers, or
            a sequence of one for each.
        sigma_w: s_w, positive.
        sigma_b: s_b, at least 0.
        random_state: seed or generator, which draws the weights of the first layer, then its biases, and so on.
        device: where to compute, such as "cuda"; None is the processor.
        verbose: whether to print what was drawn.

    Attributes:
        weights_: W^l (T_l, T_{l-1}) of all layers, float64.
        biases_: b^l (T_l,) of all layers; None where there is none.
        kernel_: the kernel of infinite widths.

    Raises:
        InputError: in `fit`, an argument is out of range.

    Reference:
        Takhanov, "Multi-layer random features and the approximation power of neural networks", arXiv 2404.17461.
    """

    weights_: list[np.ndarray]
    biases_: list[np.ndarray | None]
    kernel_: NNGP

    def __init__(
        self,
        widths: Sequence[int] = (512, 512),
        activation: Activationish | Sequence[Activationish] = "relu",
        sigma_w: float = 1.0,
        sigma_b: float = 0.0,
        *,
        random_state: Any = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.widths = widths
        self.activation = activation
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "MultiLayerRandomFeatures":
        """Draw the weights for points of as many features as X (n, d) has; y is not looked at."""
        width = self._check_points(_as_array(X), reset=True).shape[1]
        layers = self._check_settings()
        self.kernel_ = NNGP(self.activation, len(layers), self.sigma_w, self.sigma_b)
        random = self._draws()
        self.weights_, self.biases_ = [], []
        for count, layer in zip(self.widths, layers, strict=True):
            self.weights_.append(random.standard_normal((count, width)))
            self.biases_.append(self._drawn_bias(random, layer, count))
            width = count
        self._n_features_out = width
        self._report(f"drew {sum(each.size for each in self.weights_)} weights in {len(layers)} layers")
        return self

    def transform(self, X: Any) -> Any:
        """Return the features (n, T_L) of points (n, d): a tensor of a tensor, or an array."""
        check_is_fitted(self)
        points = self._check_points(_as_array(X), reset=False)
        if isinstance(X, Tensor):
            return self._features(X if X.is_floating_point() else X.double())
        return self._features(points).cpu().numpy()

    def _features(self, h: Tensor) -> Tensor:
        layers = activations_of(self.activation, len(self.weights_))
        fan_in = 1  # the inputs have their own length
        for layer, weight, bias in zip(layers, self.weights_, self.biases_, strict=True):
            u = h @ torch.from_numpy(weight).to(h).T * (self.sigma_w / math.sqrt(fan_in))
            if bias is not None:
                u = u + torch.from_numpy(bias).to(h) * (1 if layer.has_phase else self.sigma_b)
            h, fan_in = layer.function(u), weight.shape[0]
        return h / math.sqrt(fan_in)

    def _drawn_bias(self, random: np.random.RandomState, layer: Activation, count: int) -> np.ndarray | None:
        if layer.has_phase:
            return random.uniform(0, 2 * math.pi, count)
        return random.standard_normal(count) if self.sigma_b else None

    def _check_settings(self) -> list[Activation]:
        """Return the activations of all layers, after checks."""
        if not isinstance(self.widths, Sequence) or not len(self.widths):
            raise InputError(f"widths={self.widths!r} must be a sequence of the widths of all layers, at least one")
        for each in self.widths:
            check_at_least("widths", each, 1)
        return activations_of(self.activation, len(self.widths))


def _as_array(X: Any) -> Any:
    """Return a tensor as an array, to be checked."""
    if not isinstance(X, Tensor):
        return X
    found = X.detach().cpu()
    return (found.float() if found.dtype == torch.bfloat16 else found).numpy()
