"""The positive part of a mixture, fitted by a mixture."""

import torch
from torch import Tensor

from convnn.ops.mixtures.mixture import Mixture, log_density

SLACK = 0.05
"""What is added to both sides of the quotient of wanted and present values, so that neither is 0."""
LEAST = 0.1
"""What is added to every weight before the step, so that it can grow from 0."""


def rectify(mixture: Mixture) -> Mixture:
    r"""Return mixtures that are near the positive part of the fields at the means; means and covariances stay.

    .. math:: c^+ = \max(c, 0), \qquad t_n = \max(v(\mu_n), 0) - c^+, \qquad
        x_n = x^0_n \, \frac{t_n + 0.05}{\sum_m x^0_m \mathcal{N}(\mu_n; \mu_m, \Sigma_m) + 0.05}

    One step of a fixed point that multiplies each weight by the wanted value over the present one, from
    :math:`x^0 = |a| + 0.1`, where a is w if :math:`w + c > 0` and :math:`-c^+` otherwise. It is good where components
    are apart, and poor where many overlap. The constant is :math:`c^+`. That w, an integral, is compared with c, a
    value, is as published.

    Args:
        mixture: mixtures (B, C, N).

    Returns:
        Mixtures (B, C, N), of which a weight is negative where the wanted value is below -0.05.

    Raises:
        InputError: a covariance is not positive definite.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153.
    """
    weight, constant = mixture.weight, mixture.constant.unsqueeze(-1)
    density = log_density(mixture.mean, mixture.mean, mixture.cov).exp()
    values = _sum(density, weight) + constant
    floor = constant.clamp_min(0)
    start = torch.where(weight + constant > 0, weight, -floor).abs() + LEAST
    factor = (values.clamp_min(0) - floor + SLACK) / (_sum(density, start) + SLACK)
    return Mixture(start * factor, mixture.mean, mixture.cov, floor.squeeze(-1))


def _sum(density: Tensor, weight: Tensor) -> Tensor:
    return (density @ weight.unsqueeze(-1)).squeeze(-1)
