"""Fewer components: the largest stay, and may absorb the others in a step of expectation maximisation."""

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.ops.mixtures.mixture import Mixture, log_density, whiten

LEAST_WEIGHT, LEAST_SHARE = 0.05, 1e-5
"""What weights and shares are divided by at least."""
FEW, WIDENED = 1e-4, 1e-4
"""Below which weight a component is widened, and by which variance."""
SAMPLES = 20
"""Samples that a mixture stands for in a step."""


def keep_largest(mixture: Mixture, components: int) -> Mixture:
    r"""Return the K components of largest :math:`|w|`, largest first; all if there are no more.

    Raises:
        InputError: K is below 1.
    """
    check_at_least("components", components, 1)
    order = mixture.weight.abs().sort(dim=2, descending=True, stable=True).indices
    return mixture.take(order[..., :components])


def absorb(mixture: Mixture, components: int) -> Mixture:
    r"""Return the K largest components after a step of expectation maximisation towards all.

    With weights :math:`\tilde w` divided by :math:`z = \max(\sum |w|, 0.05)`, of all n and of those kept, k,

    .. math:: L_{nk} = \bigl(\mathcal{N}(\mu_n; \mu_k, \Sigma_k) \,
        e^{-\operatorname{tr}(\Sigma_k^{-1} \Sigma_n) / 2}\bigr)^{20 |\tilde w_n|}, \qquad
        r_{nk} = |\tilde w_n| \, \frac{L_{nk} |\tilde w_k|}{\sum_l L_{nl} |\tilde w_l|}

    the weight becomes :math:`\pm z \sum_n r_{nk}`, with the sign of k; mean and covariance are those of all components
    by their shares r. L is not differentiated. The sum is taken as at least 1e-5, so that what is far from all
    components kept is lost; what is far depends on the scale of space.

    Args:
        mixture: mixtures (B, C, N).
        components: K, at least 1; N if that is smaller.

    Returns:
        Mixtures (B, C, K).

    Raises:
        InputError: K is below 1, or a covariance is not positive definite.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153; Preiner et al., "Continuous
        Projection for Fast L1 Reconstruction", 2014.
    """
    kept = keep_largest(mixture, components)
    weight, of_kept = mixture.weight.abs(), kept.weight.abs()
    norm = weight.sum(2, keepdim=True).clamp_min(LEAST_WEIGHT)
    weight = weight / norm
    of_kept = of_kept / of_kept.sum(2, keepdim=True).clamp_min(LEAST_WEIGHT)
    share = _likelihood(mixture, kept, weight) * of_kept.unsqueeze(2)
    share = weight.unsqueeze(3) * share / share.sum(3, keepdim=True).clamp_min(LEAST_SHARE)
    total = share.sum(2)
    share = (share / total.clamp_min(LEAST_SHARE).unsqueeze(2)).unsqueeze(-1)
    mean = (share * mixture.mean.unsqueeze(3)).sum(2)
    offset = mixture.mean.unsqueeze(3) - mean.unsqueeze(2)
    spread = mixture.cov.unsqueeze(3) + offset.unsqueeze(-1) * offset.unsqueeze(-2)
    unit = torch.eye(mixture.dims, dtype=mean.dtype, device=mean.device)
    cov = (share.unsqueeze(-1) * spread).sum(2) + (WIDENED * (total < FEW))[..., None, None] * unit
    return Mixture(total * kept.weight.sign() * norm, mean, cov, mixture.constant)


@torch.no_grad()
def _likelihood(mixture: Mixture, kept: Mixture, weight: Tensor) -> Tensor:
    """Return how likely each component's samples are under each of those kept, (B, C, N, K)."""
    inverse, _ = whiten(kept.cov)
    precision = inverse.mT @ inverse
    trace = (precision.unsqueeze(2) * mixture.cov.unsqueeze(3)).sum((-2, -1))
    log = log_density(mixture.mean, kept.mean, kept.cov) - 0.5 * trace
    return (SAMPLES * weight.unsqueeze(3) * log).exp()
