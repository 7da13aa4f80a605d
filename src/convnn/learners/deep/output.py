"""What comes out of a deep kernel machine: functions of a Gaussian process, and how likely values are under them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.learners.deep.gram import Gram, GramModule, divergence, factor


class Functions(NamedTuple):
    """Values of O functions at points, which are normally distributed, each point by itself.

    Attributes:
        mean: (B, O) means.
        variance: (B,) variance, the same of all functions.
        cost: () what was learned, in units of the logarithm of the likelihood of all data.
    """

    mean: Tensor
    variance: Tensor
    cost: Tensor

    def samples(self, noise: Tensor) -> Tensor:
        """Return values (S, B, O) of standard normal numbers of that shape, or of one that becomes it."""
        return self.mean + self.variance.clamp_min(0).sqrt()[:, None] * noise

    def probabilities(self, noise: Tensor) -> Tensor:
        """Return the probability of each class (B, O), the mean of the softmax of samples."""
        return self.samples(noise).softmax(-1).mean(0)


class GaussianOutput(GramModule):
    r"""Functions whose values at the inducing points are learned, with their covariance.

    .. math:: f \sim N(w \mu, \; t - w \cdot t_i + w A w^T), \quad A = L L^T / P, \quad w = t_i K^{-1}

    It costs :math:`\mathrm{KL}(N(0, A) \| N(0, K)) + \frac{1}{2 O} \sum_o \mu_o^T K^{-1} \mu_o`, as in the published
    code; with `output_kl="sum"` O times as much, which makes the objective a bound where the expected likelihood is a
    sum over outputs.

    Args:
        inducing: P.
        outputs: O.
        spread: the standard deviation at the inducing points at the start, positive; a large one learns slowly.
        output_kl: "mean" or "sum".

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, inducing: int, outputs: int, *, spread: float = 0.3, output_kl: str = "mean") -> None:
        super().__init__(inducing)
        check_at_least("outputs", outputs, 1)
        check_positive("spread", spread)
        check_choice("output_kl", output_kl, ("mean", "sum"))
        self.output_kl = output_kl
        self.mean = nn.Parameter(torch.zeros(inducing, outputs))
        self.root = nn.Parameter(spread * math.sqrt(inducing) * torch.eye(inducing))

    def forward(self, gram: Gram) -> Functions:
        """Return the functions at points.

        Raises:
            InputError: another number of inducing points comes in.
            UnsupportedError: a matrix is not positive definite.
        """
        self.check(gram)
        prior = factor(gram.ii, "the kernel before the output")
        covariance = self.root @ self.root.T / self.inducing
        weights = gram.weights(prior)
        _, variance = gram.moved(weights, covariance)
        spread = divergence(factor(covariance, "the covariance of the output"), prior)
        size = torch.linalg.solve_triangular(prior, self.mean, upper=False).square().sum() / (2 * self.mean.shape[1])
        share = self.mean.shape[1] if self.output_kl == "sum" else 1
        return Functions(weights @ self.mean, variance, gram.cost + share * (spread + size))


class Conditioned(NamedTuple):
    """Functions given values at all inducing points.

    Attributes:
        mean: (B, O) means at points.
        variance: (B,) variance of an observation there, with the noise.
        likelihood: () logarithm of the likelihood of the given values.
    """

    mean: Tensor
    variance: Tensor
    likelihood: Tensor


def condition(gram: Gram, y: Tensor, noise_variance: float | Tensor) -> Conditioned:
    r"""Return functions of a Gaussian process that is given values at the inducing points, with noise.

    .. math:: t_i (K + \sigma^2 I)^{-1} Y, \quad t - t_i (K + \sigma^2 I)^{-1} t_i^T + \sigma^2, \quad
        \sum_d \log N(y_d; 0, K + \sigma^2 I)

    Args:
        gram: the triple; inducing points are the P points of the data.
        y: (P, O) values.
        noise_variance: sigma^2.

    Raises:
        InputError: the variance is negative, or there are not as many values as inducing points.
        UnsupportedError: the covariance is not positive definite.
    """
    if not noise_variance >= 0:
        raise InputError(f"noise_variance={float(noise_variance)} must be at least 0")
    count, outputs = y.shape
    if count != gram.ii.shape[0]:
        raise InputError(f"y has {count} rows, and must have {gram.ii.shape[0]}, one for each point")
    root = factor(gram.ii + noise_variance * torch.eye(count).to(gram.ii), "the covariance of the values")
    coefficients = torch.cholesky_solve(y, root)
    variance = gram.t - (gram.weights(root) * gram.ti).sum(-1) + noise_variance
    constant = root.diagonal().log().sum() + count / 2 * math.log(2 * math.pi)
    return Conditioned(gram.ti @ coefficients, variance, -(y * coefficients).sum() / 2 - outputs * constant)


def gaussian_likelihood(functions: Tensor, y: Tensor, noise_variance: float, variance: Tensor | float = 0.0) -> Tensor:
    r"""Return the expected logarithm of :math:`N(y; f, \sigma^2)`, summed over outputs, the mean over all else.

    Args:
        functions: (..., B, O) samples of f, or means.
        y: (B, O) values.
        noise_variance: sigma^2.
        variance: (B,) of f around its mean; 0 for samples.

    Raises:
        InputError: sigma^2 is not positive.
    """
    check_positive("noise_variance", noise_variance)
    spread = torch.as_tensor(variance).unsqueeze(-1)
    terms = ((functions - y).square() + spread) / noise_variance + math.log(2 * math.pi * noise_variance)
    return -terms.sum(-1).mean() / 2


def categorical_likelihood(samples: Tensor, classes: Tensor) -> Tensor:
    """Return the mean logarithm of the softmax of samples (S, B, O) at classes (B,), from 0 to O - 1.

    Raises:
        InputError: a class is another number.
    """
    count = samples.shape[-1]
    if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < count:
        raise InputError(f"classes have {int(classes.min())} to {int(classes.max())}, and must be 0 to {count - 1}")
    chosen = classes.expand(samples.shape[:-1]).unsqueeze(-1)
    return samples.log_softmax(-1).gather(-1, chosen).mean()


def linear_optimum(first: Tensor, target: Tensor, layers: int) -> list[Tensor]:
    r"""Return the Gram matrices of a linear machine at the maximum of its objective, without noise and of equal widths.

    .. math:: G_l = G_0^{1/2} \big( G_0^{-1/2} S \, G_0^{-1/2} \big)^{l / (L + 1)} G_0^{1/2}

    with a width :math:`\nu` of each layer that is the number of outputs: equal steps from the points to the outputs.

    Args:
        first: G_0 (P, P).
        target: S = Y Y^T / O.
        layers: L.

    Reference:
        Yang et al., arXiv 2108.13097.
    """
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.sqrt() @ vectors.T
    inverse = vectors / values.sqrt() @ vectors.T
    ratios, directions = torch.linalg.eigh(inverse @ target @ inverse)
    powers = [directions * ratios ** (layer / (layers + 1)) @ directions.T for layer in range(1, layers + 1)]
    return [root @ power @ root for power in powers]
