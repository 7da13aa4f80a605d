r"""Compositing along rays: layers that cover what is behind them, front to back."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError


class Composition(NamedTuple):
    r"""What each of K layers of a ray adds to what is seen.

    Attributes:
        weights: (\*, K) alpha times what reaches the layer.
        before: (\*, K) the share of light from behind that passes the layers in front of each one.
        rest: (\*) the share that passes all layers.
    """

    weights: Tensor
    before: Tensor
    rest: Tensor


def composite(alpha: Tensor) -> Composition:
    r"""Return the weights of alpha compositing, front to back.

    .. math:: T_i = \prod_{j < i} (1 - \alpha_j), \qquad w_i = \alpha_i T_i, \qquad \sum_i w_i = 1 - T_{K + 1}

    Args:
        alpha: (\*, K) opacities from 0 to 1 in the order of depth, 0 for no layer; K may be 0.

    Reference:
        Porter and Duff, "Compositing Digital Images", SIGGRAPH 1984. With
        :math:`\alpha_i = 1 - e^{-\sigma_i \delta_i}` it is the volume rendering of densities :math:`\sigma_i` that are
        constant over lengths :math:`\delta_i`.
    """
    passed = torch.cat([torch.ones_like(alpha[..., :1].sum(-1, keepdim=True)), (1 - alpha).cumprod(-1)], dim=-1)
    return Composition(alpha * passed[..., :-1], passed[..., :-1], passed[..., -1])


def median_depth(depths: Tensor, composition: Composition) -> Tensor:
    r"""Return the depth of the last layer that more than half of the light reaches, :math:`T_i > 1/2`, 0 without any.

    It selects: the gradient goes to that depth alone.

    Args:
        depths: (\*, K) in order.
        composition: of those layers. Layers with weight 0 do not count.

    Returns:
        (\*).
    """
    _check(depths, composition)
    reached = (composition.before > 0.5) & (composition.weights > 0)
    slots = torch.arange(1, depths.shape[-1] + 1, device=depths.device) * reached
    is_last = reached & (slots == slots.cummax(-1).values[..., -1:])
    return torch.where(is_last, depths, 0).sum(-1)


def distortion(places: Tensor, composition: Composition) -> Tensor:
    r"""Return how far what is seen is spread along each ray: the squared distances of all pairs of layers, weighted.

    .. math:: L = \frac{1}{(1 - T_{K + 1})^2 + 10^{-7}} \sum_{j < i} w_i w_j (m_i - m_j)^2

    in one pass, from the sums of :math:`w_j`, :math:`w_j m_j` and :math:`w_j m_j^2` over earlier layers.

    Args:
        places: (\*, K) :math:`m_i`, on any scale.
        composition: of those layers.

    Returns:
        (\*).

    Reference:
        Barron et al., "Mip-NeRF 360", CVPR 2022, with squared distances as in Huang et al., "2D Gaussian Splatting",
        SIGGRAPH 2024.
    """
    _check(places, composition)
    weights = composition.weights
    first, second = weights * places, weights * places.square()
    covered, one, two = (sums.cumsum(-1) - sums for sums in (weights, first, second))
    total = (weights * (places.square() * covered + two - 2 * places * one)).sum(-1)
    return total / ((1 - composition.rest).square() + 1e-7)


def _check(values: Tensor, composition: Composition) -> None:
    if values.shape != composition.weights.shape:
        raise InputError(
            f"values of shape {tuple(values.shape)} must be those of the layers {tuple(composition.weights.shape)}"
        )
