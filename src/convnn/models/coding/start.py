"""Where a codec begins to learn: at latents that survive rounding, and frames as bright as the true ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models.coding.dcvc import DCVC
from convnn.models.coding.video import VideoCodec

SPREAD = 3.0
"""Standard deviation of latents at the start."""
CONTRAST = 0.1
"""Standard deviation of decoded frames at the start."""
MOTION, CELLS = 3.0, 3
"""Standard deviation, in pixels, of the flows by which motion is set, and the side of their grid."""


@torch.no_grad()
def calibrate(codec: VideoCodec, clips: Tensor) -> None:
    r"""Scale and shift the last layer of each encoder and decoder, by what comes out for a first batch.

    .. math:: W \leftarrow \frac{s}{\sigma} W, \qquad b \leftarrow \frac{s}{\sigma} (b - \mu) + m

    where :math:`\mu` is the mean of the outputs in each channel and :math:`\sigma` their deviation from it. Latents
    get s = 3 and m = 0: as PyTorch initialises an encoder they are near 0, so that all are rounded to 0, the decoder is
    shown nothing, and for hundreds of steps neither learns. Decoded frames get s = 0.1 and the mean colour of the
    clips, decoded flows s = 3 pixels from random smooth flows of such a deviation.

    Args:
        codec: the network, which is changed in place.
        clips: (B, T, 3, H, W) with values from 0 to 1 and sides that are multiples of 64. With fewer than two frames
            only the intra codec is set.

    Raises:
        InputError: clips have another shape.

    Reference:
        After layer-sequential unit-variance initialisation, Mishkin and Matas, arXiv 1511.06422.
    """
    if clips.dim() != 5 or not clips.shape[0] or not clips.shape[1]:
        raise InputError(f"clips of shape {tuple(clips.shape)} must be (B, T, 3, H, W) with at least one frame")
    _calibrate_frames(codec.intra, clips[:, 0], None, None)
    if clips.shape[1] > 1:
        before, x = clips[:, 0], clips[:, 1]
        flow = _smooth_flow(x)
        _calibrate_motion(codec.inter, flow)
        warped, context = codec.inter.conditions(before, flow)
        _calibrate_frames(codec.inter, x, warped, context)


def _calibrate_frames(codec: DCVC, x: Tensor, warped: Tensor | None, context: Tensor | None) -> None:
    seen = codec.seen(x, warped, context)
    _fit(codec.encoder[-1], lambda: codec.encoder(seen), SPREAD)
    y_hat = codec.encoder(seen).round()
    rest = 0.0 if codec.coding == "residual" and warped is not None else x.mean((0, 2, 3))
    parts = [codec.decoder(y_hat)] + ([] if context is None else [context])
    _fit(codec.output[-1], lambda: codec.output(torch.cat(parts, 1)), CONTRAST, rest)


def _calibrate_motion(codec: DCVC, flow: Tensor) -> None:
    encoder, decoder = codec.motion.encoder, codec.motion.decoder
    _fit(encoder[-1], lambda: encoder(flow), SPREAD)
    y_hat = encoder(flow).round()
    _fit(decoder[-1], lambda: decoder(y_hat), MOTION)


def _fit(layer: nn.Module, outputs: Callable[[], Tensor], spread: float, mean: Tensor | float = 0.0) -> None:
    """Give the outputs of a last layer, a convolution, this deviation, and this mean in each channel."""
    found = outputs()
    middle = found.mean((0, 2, 3))
    factor = spread / (found - middle[:, None, None]).std().clamp_min(1e-12)
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.mul_(factor)
    bias.sub_(middle).mul_(factor).add_(mean)


def _smooth_flow(like: Tensor) -> Tensor:
    """Return random smooth flows (B, 2, H, W), the same for every run."""
    generator = torch.Generator().manual_seed(0)
    coarse = MOTION * torch.randn(like.shape[0], 2, CELLS, CELLS, generator=generator)
    return F.interpolate(coarse, like.shape[2:], mode="bicubic", align_corners=True).to(like)
