"""The codec of clips as a network with a loss of its own, for the Trainer and the command line."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import check_at_least, check_positive
from convnn.models._own_loss import Answer, OwnLoss
from convnn.models._registry import register_model
from convnn.models.coding.dcvc import CodedFrame
from convnn.models.coding.start import calibrate
from convnn.models.coding.video import VideoCodec, padded
from convnn.nn import LayerFactory

TRUE_SHARE = 0.5
"""Share of the frames that in training are predicted from the true frame before them."""


class CodecNetwork(OwnLoss):
    r"""A `VideoCodec` that learns from clips.

    .. math:: L = \underbrace{\lambda \operatorname{MSE}(\hat x, x)}_{\text{distortion}} +
        \underbrace{\text{bits of a pixel}}_{\text{rate}} +
        \underbrace{\lambda \operatorname{MSE}(w, x) + \lambda \operatorname{MSE}(w', x)}_{\text{prediction}}

    The last term is of the frames w and w' that the decoded motion and the estimated one make of the reference. The
    second trains the estimate, which is published trained already. In evaluation the loss has no such term, and the
    figure `rate_distortion` is the sum of the others; the other figures are `bpp`, the estimated bits of a pixel, and
    `psnr`.

    The first `motion_epochs` are a first stage, as published: of frames after the first only the motion is coded, from
    the true frames before them, and :math:`\hat x = w`. Its bits do not count yet, unlike in `VideoCodec.loss`, whose
    flow is published trained: else they are saved before the motion is worth them, and it is never learned. Then all
    parts learn at once; half of the frames, by chance, are predicted from the true frame before them, the others from
    the decoded one. `calibrate` sets the start.

    Args:
        layer: function from channels to the first layer of the features of a reference frame, in conditional coding.
        in_channels: 3.
        num_classes: not read.
        width: factor on d_hidden.
        d_hidden: N, channels; the latents of frames have 3 N / 2, those of motion 2 N. A multiple of 8 suits all.
        prior: "ar", "dual" or "quad", see `DCVC`.
        coding: "conditional" or "residual".
        lmbda: :math:`\lambda`, bits of a pixel that a mean squared error of 1 is worth.
        motion_epochs: epochs at the start in which of frames after the first the motion alone is learned.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Li, Li and Lu, arXiv 2109.15047.
    """

    default_layer: ClassVar[str] = "Conv2d"
    data: ClassVar[str] = "clips"
    defaults: ClassVar[Mapping[str, Any]] = {
        "dataset": "moving_crops",
        "optimizer": "adam",
        "lr": 2e-3,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "batch_size": 2,
        "num_epochs": 4,
    }
    terms = ("distortion", "rate", "prediction")
    figures = ("rate_distortion", "bpp", "psnr")

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        d_hidden: int = 16,
        prior: str = "ar",
        coding: str = "conditional",
        lmbda: float = 256.0,
        motion_epochs: int = 1,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_positive("lmbda", lmbda)
        check_at_least("motion_epochs", motion_epochs, 0)
        self.lmbda, self.motion_epochs, self.motion_only = lmbda, motion_epochs, False
        channels = self.scaled(d_hidden)
        flow = max(4, channels // 4 * 4)
        self.codec = VideoCodec(channels, 3 * channels // 2, 2 * channels, channels, flow, coding=coding, prior=prior)
        if coding == "conditional":
            self.codec.inter.extract[0] = layer(3, channels)

    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        """Return the loss of clips (B, T, 3, H, W) with values from 0 to 1, of any size.

        Raises:
            InputError: they have another shape.
        """
        if not x.shape[0]:  # of which PyTorch has no gradients; processes that share a batch may have no clip
            answer = self(x.new_zeros(1, *x.shape[1:]))
            nothing = {name: 0 * term for name, term in answer.terms.items()}
            return Answer(nothing, {name: value[:0] for name, value in answer.figures.items()})
        height, width = x.shape[-2:]
        first_stage = self.training and self.motion_only
        share = 1.0 if first_stage else TRUE_SHARE * self.training
        frames = self.codec.frames(padded(x), share, motion_only=first_stage)
        losses = [
            self._of_frame(coded, frame, (height, width)) for coded, frame in zip(frames, x.unbind(1), strict=True)
        ]
        errors, rates, predictions = (torch.stack(parts, 1) for parts in zip(*losses, strict=True))
        error, prediction = errors.mean(1), predictions.mean(1)
        rate = (rates[:, :1] if first_stage else rates).sum(1) / rates.shape[1]
        distortion = self.lmbda * error
        extra = self.lmbda * prediction * self.training
        terms = {"distortion": distortion.sum(), "rate": rate.sum(), "prediction": extra.sum()}
        if first_stage and torch.distributed.is_initialized():  # processes that share a batch need all gradients
            terms["rate"] = terms["rate"] + self.answer_to_none(x).terms["rate"]
        quality = errors.clamp_min(1e-10).log10().mean(1)
        return Answer(terms, {"rate_distortion": distortion + rate, "bpp": rate, "psnr": -10 * quality})

    def _of_frame(self, coded: CodedFrame, frame: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return squared error, bits of a pixel and squared errors of the predictions of each sample, (B,)."""
        height, width = size
        bits = torch.stack([one.flatten(1).sum(1) for one in coded.bits.values()]).sum(0) / (height * width)
        error, *others = (
            F.mse_loss(shown[..., :height, :width], frame, reduction="none").mean((1, 2, 3))
            for shown in (coded.recon, coded.warped, coded.estimate)
            if shown is not None
        )
        return error, bits, sum(others, torch.zeros_like(bits))

    def begin_epoch(self, epoch: int) -> None:
        """Learn the motion alone in the first epochs, and everything after them."""
        self.motion_only = epoch <= self.motion_epochs

    def prepare(self, x: Tensor) -> None:
        """Set where the codec begins, see `calibrate`."""
        calibrate(self.codec, padded(x))

    def example(self, shape: tuple[int, ...], count: int = 1, device: torch.device | str = "cpu") -> Tensor:
        """Return clips of two frames of zeros, (count, 2, *shape)."""
        return torch.zeros(count, 2, *shape, device=device)


@register_model(CodecNetwork)
def dcvc(layer: LayerFactory, **settings: Any) -> CodecNetwork:
    """Conditional video codec, which learns from clips without labels: bits and distortion."""
    return CodecNetwork(layer, **settings)
