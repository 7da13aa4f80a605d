"""A codec of clips: the first frame by itself, each other one under the condition of the one before."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models.coding.dcvc import DCVC, STEP, CodedFrame
from convnn.models.coding.latents import LatentCoder


class VideoCodec(nn.Module):
    """An intra codec for the first frame, and an inter codec for the others, which see decoded frames only.

    Args:
        channels, latent, motion, refine, flow, prior: see `DCVC`.
        coding: of the other frames, "conditional" or "residual".

    Raises:
        InputError: see `DCVC`; or the coding is "intra".

    Example:
        >>> codec = VideoCodec(4, 4, 4, 4, 4).eval()
        >>> len(codec(torch.rand(1, 3, 3, 64, 64)))
        3
    """

    def __init__(
        self,
        channels: int = 64,
        latent: int = 96,
        motion: int = 128,
        refine: int = 64,
        flow: int = 64,
        *,
        coding: str = "conditional",
        prior: str = "ar",
    ) -> None:
        super().__init__()
        if coding == "intra":
            raise InputError("coding='intra' knows no frame before; choose conditional or residual")
        self.inter = DCVC(channels, latent, motion, refine, flow, coding=coding, prior=prior)
        self.intra = DCVC(channels, latent, motion, refine, coding="intra", prior=prior)

    def forward(self, clips: Tensor) -> list[CodedFrame]:
        """Code clips (B, T, 3, H, W) frame by frame."""
        return list(self.frames(clips))

    def frames(self, clips: Tensor, true_share: float = 0.0, *, motion_only: bool = False) -> Iterator[CodedFrame]:
        """Yield what forward returns, one frame after the other.

        Args:
            clips: (B, T, 3, H, W).
            true_share: how often, by chance, a sample has the true frame before in place of the decoded one, in
                training: from decoded frames alone motion is learned only after frames can be told apart. Above 0, no
                gradient leads from a frame to those before.
            motion_only: of frames after the first, code the motion alone, see `DCVC.moved`.
        """
        if clips.dim() != 5 or not clips.shape[1]:
            raise InputError(f"clips of shape {tuple(clips.shape)} must be (B, T, 3, H, W) with at least one frame")
        coded = self.intra(clips[:, 0])
        yield coded
        for before, x in zip(clips.unbind(1), clips[:, 1:].unbind(1), strict=False):
            reference = coded.recon.clamp(0, 1)
            if true_share:
                reference = reference.detach()  # the errors of a codec that begins would drown those of its reference
                is_true = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < true_share
                reference = torch.where(is_true, before, reference)
            coded = self.inter.moved(x, reference) if motion_only else self.inter(x, reference)
            yield coded

    def loss(self, clips: Tensor, lmbda: float, stage: int = 4) -> Tensor:
        """Return the mean over the frames of what a stage of training minimises, see `DCVC.loss`.

        In stages 1 to 3 the reference of a frame is the true one before it, which a network at its start cannot give.
        """
        if stage == 4:
            coded = self(clips)
        else:
            coded = [self.intra(clips[:, 0])]
            coded += [self.inter(x, before) for before, x in zip(clips.unbind(1), clips[:, 1:].unbind(1), strict=False)]
        first, *others = zip(coded, clips.unbind(1), strict=True)
        losses = [self.intra.loss(*first, lmbda)] + [self.inter.loss(*one, lmbda, stage) for one in others]
        return torch.stack(losses).mean()

    def set_stage(self, stage: int) -> None:
        """Freeze and release as `DCVC.set_stage`."""
        self.inter.set_stage(stage)

    @torch.no_grad()
    def code_frame(
        self,
        coder: LatentCoder,
        size: tuple[int, int],
        x: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """Write a frame (1, 3, *size), or read it, and return what the decoder has, with values from 0 to 1.

        Args:
            coder: the stream.
            size: of the frame, multiples of 64.
            x: the frame to write, or None.
            reference: the decoded frame before it; None codes the frame by itself.
        """
        codec = self.intra if reference is None else self.inter
        return codec.code(coder, size, x, reference).clamp(0, 1)


def padded(frames: Tensor) -> Tensor:
    """Repeat the right and lower edges of frames (..., 3, H, W) until the sides are multiples of 64."""
    height, width = (-side % STEP for side in frames.shape[-2:])
    return F.pad(frames.flatten(0, -4), (0, width, 0, height), mode="replicate").unflatten(0, frames.shape[:-3])
