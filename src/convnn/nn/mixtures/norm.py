"""Normalisation of the scale of mixtures: how wide their components are."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops.mixtures import Mixture

NORMS = ("batch", "sample")
"""Over what the mean is taken."""
FULL_BATCH, FASTEST = 1000, 0.2
"""Batches of so many replace the running mean by themselves, but never by more than this share."""


class MixtureNorm(nn.Module):
    r"""Scale space so that the covariances of a channel have the mean trace D.

    .. math:: s = \sqrt{D / v}, \qquad \mu \to s \mu, \qquad \Sigma \to s^2 \Sigma

    Weights and constants stay. With over="batch", v is a running mean for each channel of the traces over images and
    components, :math:`v \leftarrow (1 - a) v + a \bar v` with :math:`a = \min(B / 1000, 0.2)`; training too uses it,
    after its update and without a gradient. With over="sample", v is the mean over the components of a channel of an
    image, and is differentiated.

    Args:
        channels: C.
        over: "batch" or "sample".

    Raises:
        InputError: an argument is out of range; in forward: the mixtures have other channels.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153.
    """

    mean_trace: Tensor

    def __init__(self, channels: int, over: str = "batch") -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_choice("over", over, NORMS)
        self.channels, self.over = channels, over
        if over == "batch":
            self.register_buffer("mean_trace", torch.ones(channels))

    def reset_running_stats(self) -> None:
        """Set the running mean to 1."""
        if self.over == "batch":
            self.mean_trace.fill_(1)

    def forward(self, x: Mixture) -> Mixture:
        """Map mixtures (B, C, N) to such of another scale."""
        if x.weight.shape[1] != self.channels:
            raise InputError(f"mixtures of {x.weight.shape[1]} channels must have {self.channels}")
        trace = x.cov.diagonal(dim1=-2, dim2=-1).sum(-1)
        if self.over == "batch":
            if self.training:
                share = min(x.weight.shape[0] / FULL_BATCH, FASTEST)
                self.mean_trace.lerp_(trace.detach().mean((0, 2)).to(self.mean_trace), share)
            mean = self.mean_trace.clone()  # what autograd keeps is not changed by the next update
        else:
            mean = trace.mean(2)
        square = (x.dims / mean).unsqueeze(-1).expand(x.weight.shape)
        return Mixture(x.weight, square.sqrt()[..., None] * x.mean, square[..., None, None] * x.cov, x.constant)

    def extra_repr(self) -> str:
        """Return the channels and what the mean is over."""
        return f"{self.channels}, over={self.over!r}"
