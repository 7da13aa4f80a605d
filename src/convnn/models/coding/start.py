"""Where a codec begins to learn: at latents that survive rounding, and frames as bright as the true ones."""

from collections.abc import Callable
from typing import cast

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
COLOUR = (0.45, 0.25)
"""Mean and standard deviation of the colours of photographs, about those of ImageNet."""


@torch.no_grad()
def calibrate(codec: VideoCodec, clips: Tensor) -> None:
    r"""Scale and shift each convolution of the encoders and decoders, by what comes out for a first batch.

    .. math:: W \leftarrow \frac{s}{\sigma} W, \qquad b \leftarrow \frac{s}{\sigma} (b - \mu) + m

    where :math:`\mu` is the mean of the outputs in each channel and :math:`\sigma` their deviation from it. Layer after
    layer gets s = 1 and m = 0; only the last has others. Latents get s = 3: as PyTorch initialises an encoder they are
    near 0, so that all are rounded to 0, the decoder is shown nothing, and for hundreds of steps neither learns. Were
    the last layer scaled alone, a first step of the others would be as many times too long. Decoded frames get s = 0.1
    and the mean colour of the clips, decoded flows s = 3 pixels from random smooth flows of such a deviation.

    The networks of `SpyNet` start as He et al. do, with half of their first channels on the difference of both frames:
    from a sum of both, motion is not found in hundreds of steps, and the flow only blurs.

    Args:
        codec: the network, which is changed in place.
        clips: (B, T, 3, H, W) with values from 0 to 1 and sides that are multiples of 64. With fewer than two frames
            only the intra codec is set.

    Raises:
        InputError: clips have another shape.

    Reference:
        Layer-sequential unit-variance initialisation, Mishkin and Matas, arXiv 1511.06422; He et al., arXiv 1502.01852.
    """
    if clips.dim() != 5 or not clips.shape[0] or not clips.shape[1]:
        raise InputError(f"clips of shape {tuple(clips.shape)} must be (B, T, 3, H, W) with at least one frame")
    _calibrate_frames(codec.intra, clips[:, 0], None, None)
    if clips.shape[1] > 1:
        before, x = clips[:, 0], clips[:, 1]
        for network in codec.inter.flow.networks:
            _see_differences(cast(nn.Sequential, network))
        flow = _smooth_flow(x)
        _calibrate_motion(codec.inter, flow)
        if codec.inter.coding == "conditional":
            _fit(codec.inter.refine, lambda: codec.inter.conditions(before, flow), 1.0)
        warped, context = codec.inter.conditions(before, flow)
        _calibrate_frames(codec.inter, x, warped, context)


def _calibrate_frames(codec: DCVC, x: Tensor, warped: Tensor | None, context: Tensor | None) -> None:
    seen = codec.seen(x, warped, context)
    _fit(codec.encoder, lambda: codec.encoder(seen), SPREAD)
    y_hat = codec.encoder(seen).round()
    rest = 0.0 if codec.coding == "residual" and warped is not None else x.mean((0, 2, 3))
    _fit(codec.decoder, lambda: codec.decoder(y_hat), 1.0)
    parts = [codec.decoder(y_hat)] + ([] if context is None else [context])
    _fit(codec.output, lambda: codec.output(torch.cat(parts, 1)), CONTRAST, rest)


def _see_differences(network: nn.Sequential) -> None:
    """Start a network of the pyramid so that half of its first channels see the difference of both frames."""
    first, *others = (layer for layer in network if isinstance(layer, nn.Conv2d))
    for layer in (first, *others):
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer is others[-1] else "relu")
        nn.init.zeros_(layer.get_parameter("bias"))
    (mean, deviation), half = COLOUR, first.out_channels // 2
    first.weight[:, :6].div_(deviation)
    first.weight[:half, 3:6] = -first.weight[:half, :3]
    first.get_parameter("bias").sub_(mean * first.weight[:, :6].sum((1, 2, 3)))


def _calibrate_motion(codec: DCVC, flow: Tensor) -> None:
    encoder, decoder = codec.motion.encoder, codec.motion.decoder
    _fit(encoder, lambda: encoder(flow), SPREAD)
    y_hat = encoder(flow).round()
    _fit(decoder, lambda: decoder(y_hat), MOTION)


def _fit(part: nn.Module, outputs: Callable[[], object], spread: float, mean: Tensor | float = 0.0) -> None:
    """Give the outputs of each convolution a deviation of 1, and those of the last this one, and this mean."""
    layers = [layer for layer in part.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for layer in layers:
        found: list[Tensor] = []
        hook = layer.register_forward_hook(lambda _, __, output, found=found: found.append(output))
        outputs()
        hook.remove()
        middle = found[0].mean((0, 2, 3))
        factor = (spread if layer is layers[-1] else 1) / (found[0] - middle[:, None, None]).std().clamp_min(1e-12)
        layer.weight.mul_(factor)
        layer.get_parameter("bias").sub_(middle).mul_(factor)
    layers[-1].get_parameter("bias").add_(mean)


def _smooth_flow(like: Tensor) -> Tensor:
    """Return random smooth flows (B, 2, H, W), the same for every run."""
    generator = torch.Generator().manual_seed(0)
    coarse = MOTION * torch.randn(like.shape[0], 2, CELLS, CELLS, generator=generator)
    return F.interpolate(coarse, like.shape[2:], mode="bicubic", align_corners=True).to(like)
