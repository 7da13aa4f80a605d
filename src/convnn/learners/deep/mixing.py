"""Inducing points that are mixtures of those that come in: convolution and pooling of Gram triples."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.learners.deep.gram import Gram, GramModule, factor
from convnn.learners.deep.inputs import window_mean


def mixed(ii: Tensor, weights: Tensor) -> Tensor:
    """Return the Gram matrix (Q, Q) of mixtures with weights (Q, P, k), averaged over k."""
    return torch.einsum("apk,pq,bqk->ab", weights, ii, weights) / weights.shape[2]


class GramConv2d(GramModule):
    r"""A convolution of infinitely many channels, whose inducing points are mixtures of those of a window.

    .. math:: K_{ii}' = \frac{1}{k^2} \sum_d C_d K_{ii} C_d^T, \quad
        t_i'(s) = \frac{1}{k^2} \sum_d C_d \, t_i(r s + d), \quad C = A / \sqrt{P}

    and t' is the mean of t over the window. The maps are padded with zeros in `ti`; in `t` padding does not count, as
    in the published code, while that of a wide random convolution with zeros around it would be smaller at the border.

    Args:
        inducing: P, inducing points that come in.
        out: of the result.
        kernel_size: k, the odd side of the window.
        stride: r.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Milsom, Anson and Aitchison, "Convolutional deep kernel machines", arXiv 2309.09814.
    """

    def __init__(self, inducing: int, out: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__(inducing)
        check_at_least("out", out, 1)
        check_odd("kernel_size", kernel_size)
        check_at_least("stride", stride, 1)
        self.kernel_size, self.stride = kernel_size, stride
        self.mixture = nn.Parameter(torch.randn(out, inducing, kernel_size, kernel_size))

    def forward(self, gram: Gram) -> Gram:
        """Return the triple of a map (B, ceil(H / r), ceil(W / r)).

        Raises:
            InputError: another number of inducing points comes in.
        """
        self.check(gram)
        weights, side = self.mixture / self.inducing**0.5, self.kernel_size
        ti = F.conv2d(gram.ti.movedim(-1, 1), weights, stride=self.stride, padding=side // 2).movedim(1, -1)
        t = window_mean(gram.t, side, self.stride)
        return Gram(mixed(gram.ii, weights.flatten(2)), ti / side**2, t, gram.cost)


class MeanPool(nn.Module):
    """Means of `ti` and `t` over all pixels."""

    def forward(self, gram: Gram) -> Gram:
        """Return the triple of whole images (B,)."""
        return gram._replace(ti=gram.ti.flatten(1, -2).mean(1), t=gram.t.flatten(1).mean(1))


class NystromPool(GramModule):
    r"""The mean over all pixels, whose parts that the inducing points do not explain are independent.

    .. math:: \bar t_i = \frac{1}{S} \sum_s t_i(s), \quad
        t' = \bar t_i K^{-1} \bar t_i^T + \frac{1}{S^2} \sum_s \big( t(s) - t_i(s) K^{-1} t_i(s)^T \big)

    Args:
        inducing: P.
        out: inducing points of the result, mixtures of the others; None is the same.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, inducing: int, out: int | None = None) -> None:
        super().__init__(inducing)
        if out is not None:
            check_at_least("out", out, 1)
        self.mixture = None if out is None else nn.Parameter(torch.randn(out, inducing))

    def forward(self, gram: Gram) -> Gram:
        """Return the triple of whole images (B,).

        Raises:
            InputError: another number of inducing points comes in.
            UnsupportedError: their matrix is not positive definite.
        """
        self.check(gram)
        weights = gram.weights(factor(gram.ii, "the kernel before the pooling"))
        rest = (gram.t - (weights * gram.ti).sum(-1)).flatten(1)
        ti, weights = gram.ti.flatten(1, -2).mean(1), weights.flatten(1, -2).mean(1)
        pooled = gram._replace(ti=ti, t=(weights * ti).sum(-1) + rest.mean(1) / rest.shape[1])
        if self.mixture is None:
            return pooled
        mixture = self.mixture / self.inducing**0.5
        return pooled._replace(ii=mixture @ gram.ii @ mixture.T, ti=ti @ mixture.T)


class FlattenPool(GramModule):
    """Inducing points that are mixtures over all pixels, as after flattening; `t` is the mean.

    Args:
        inducing: P.
        out: inducing points of the result.
        positions: pixels of a map.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, inducing: int, out: int, positions: int) -> None:
        super().__init__(inducing)
        check_at_least("out", out, 1)
        check_at_least("positions", positions, 1)
        self.mixture = nn.Parameter(torch.randn(out, positions, inducing))

    def forward(self, gram: Gram) -> Gram:
        """Return the triple of whole images (B,).

        Raises:
            InputError: another number of inducing points, or a map of another size, comes in.
        """
        self.check(gram)
        weights, ti = self.mixture / self.inducing**0.5, gram.ti.flatten(1, -2)
        if ti.shape[1] != weights.shape[1]:
            raise InputError(f"positions={weights.shape[1]} must be {ti.shape[1]}, the pixels of the map that comes in")
        ti = torch.einsum("bsp,asp->ba", ti, weights) / ti.shape[1]
        return Gram(mixed(gram.ii, weights.mT), ti, gram.t.flatten(1).mean(1), gram.cost)
