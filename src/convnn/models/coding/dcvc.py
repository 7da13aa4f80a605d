"""DCVC: a frame is coded under the condition of what its motion brings from the frame before."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_at_most, check_choice, check_positive
from convnn.models.coding import _parts as parts
from convnn.models.coding.latents import HyperLatent, LatentCoder
from convnn.models.coding.spynet import SpyNet
from convnn.ops.warping import flow_warp

STEP = 64
"""The sides of frames are multiples of this: a sixteenth for the latents, a quarter of that for those of their bits."""

CODINGS = ("conditional", "residual", "intra")
STAGES = 4
FROZEN = (2, 3)
"""Stages of training in which the motion part rests."""


class CodedFrame(NamedTuple):
    """A frame as the decoder has it, and what it took.

    Attributes:
        recon: the decoded frame, (B, 3, H, W).
        warped: the reference moved by the decoded motion, (B, 3, H, W); None in intra coding.
        flow: the decoded motion, (B, 2, H, W); None in intra coding.
        estimate: the reference moved by the motion before it is coded, (B, 3, H, W); None if none is sent.
        context: the features that the frame is conditioned on, (B, N, H, W); None without conditions.
        bits: of every number of each latent: "y", "z", and of the motion "mv_y", "mv_z".
        latents: before quantisation, by the same names.
    """

    recon: Tensor
    warped: Tensor | None
    flow: Tensor | None
    estimate: Tensor | None
    context: Tensor | None
    bits: Mapping[str, Tensor]
    latents: Mapping[str, Tensor]

    def bpp(self) -> dict[str, Tensor]:
        """Return the mean bits of a pixel for each part."""
        batch, _, height, width = self.recon.shape
        return {name: bits.sum() / (batch * height * width) for name, bits in self.bits.items()}


class MotionCoder(nn.Module):
    """The flow through a latent, and refined by the reference frame.

    Args:
        channels: V, of the latent.
        hyper_channels: N, of the latent of its bits.
        refine_channels: inside the refiner.
        prior, scale, form: as in `HyperLatent`.
    """

    def __init__(
        self, channels: int, hyper_channels: int, refine_channels: int, *, prior: str, scale: str, form: str
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = parts.motion_encoder(channels), parts.motion_decoder(channels)
        self.refiner = parts.motion_refiner(refine_channels)
        before = parts.hyper_encoder(channels, hyper_channels)
        after = parts.hyper_decoder(hyper_channels, hyper_channels, 3 * hyper_channels // 2, 2 * channels)
        self.latent = HyperLatent(
            channels, before, after, hyper_channels, 2 * channels, prior=prior, scale=scale, form=form
        )

    def decoded(self, y_hat: Tensor, reference: Tensor) -> Tensor:
        """Return the flow of a latent: that of the decoder, and a correction."""
        flow = self.decoder(y_hat)
        return flow + self.refiner(torch.cat([flow, reference], 1))


class DCVC(nn.Module):
    r"""A codec of one frame x, given the decoded frame before it, whose loss is bits and distortion.

    .. math:: \hat x = d(\hat y, C), \qquad \hat y = \lfloor e(x, C) \rceil, \qquad
        C = \operatorname{refine}(\operatorname{warp}(\operatorname{extract}(\hat x_{t - 1}), v))

    The motion v is sent through a latent of its own. The context C enters the encoder, the decoder and the prior of y.
    Residual coding, :math:`\hat x = w + d(\lfloor e(x - w) \rceil)` with the warped frame w, is the special case in
    which the condition is subtracted; intra coding has none.

    Args:
        channels: N, of features, context and second latents.
        latent: M, of the latent y.
        motion: V, of the motion's latent.
        refine: channels inside the refiner of the motion.
        flow: channels inside the network that estimates it, `SpyNet`, a multiple of 4.
        coding: "conditional", "residual" or "intra".
        prior: of y, "ar" (DCVC), "dual" (HEM) or "quad" (DC); the motion has it too.
        sends_motion: whether the motion is coded; otherwise encoder and decoder are given the flow.
        scale: see `LaplaceBits`; None is "softplus" for "ar" and "bound" for the others, as published.
        form: see `laplace_bits`.

    Raises:
        InputError: an argument is out of range, or the latents have no halves or quarters for the prior; in forward:
            frames of other channels, of sides that are no multiples of 64, or without a reference or flow that the
            coding needs.

    Reference:
        Li, Li and Lu, arXiv 2109.15047 (DCVC); 2207.05894 (HEM); 2302.14402 (DC); trained as in OpenDCVCs.

    Example:
        >>> codec = DCVC(4, 4, 4, 4, 4).eval()
        >>> coded = codec(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
        >>> tuple(coded.recon.shape), sorted(coded.bpp())
        ((1, 3, 64, 64), ['mv_y', 'mv_z', 'y', 'z'])
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
        sends_motion: bool = True,
        scale: str | None = None,
        form: str = "safe",
    ) -> None:
        super().__init__()
        for name, value in {"channels": channels, "latent": latent, "motion": motion, "refine": refine}.items():
            check_at_least(name, value, 1)
        check_choice("coding", coding, CODINGS)
        self.coding = coding
        is_conditional = coding == "conditional"
        if scale is None:
            scale = "softplus" if prior == "ar" else "bound"
        self.sends_motion = sends_motion and coding != "intra"
        if self.sends_motion:
            self.flow = SpyNet(flow)
            self.motion = MotionCoder(motion, channels, refine, prior=prior, scale=scale, form=form)
        if is_conditional:
            self.extract = nn.Sequential(parts.conv(3, channels), parts.Residual(channels))
            self.refine = nn.Sequential(parts.Residual(channels), parts.conv(channels, channels))
            self.temporal = parts.temporal_encoder(channels, latent)
        context = channels if is_conditional else 0
        self.encoder = parts.frame_encoder(3 + context, channels, latent)
        self.decoder = parts.frame_decoder(latent, channels)
        before = parts.hyper_encoder(latent, channels)
        after = parts.hyper_decoder(channels, latent, latent, latent)
        known = 2 * latent if is_conditional else latent
        self.latent = HyperLatent(latent, before, after, channels, known, prior=prior, scale=scale, form=form)
        residuals = (parts.Residual(channels) for _ in range(2))
        self.output = nn.Sequential(parts.conv(channels + context, channels), *residuals, parts.conv(channels, 3))

    def forward(self, x: Tensor, reference: Tensor | None = None, flow: Tensor | None = None) -> CodedFrame:
        """Code frames (B, 3, H, W) with values from 0 to 1.

        Args:
            x: the frames.
            reference: the decoded frames before them, of the same shape; not in intra coding.
            flow: the motion, (B, 2, H, W), in pixels; None estimates it.
        """
        self._check(x, reference, flow)
        bits: dict[str, Tensor] = {}
        latents: dict[str, Tensor] = {}
        estimate = None
        if self.sends_motion and reference is not None:
            flow, estimate, bits, latents = self._sent_motion(x, reference, flow)
        warped, context = self.conditions(reference, flow)
        sent = self.latent(self.encoder(self.seen(x, warped, context)), self._known(context))
        bits, latents = bits | {"y": sent.bits_y, "z": sent.bits_z}, latents | {"y": sent.y, "z": sent.z}
        return CodedFrame(self._decoded(sent.y_hat, warped, context), warped, flow, estimate, context, bits, latents)

    def moved(self, x: Tensor, reference: Tensor, flow: Tensor | None = None) -> CodedFrame:
        """Code the motion of frames (B, 3, H, W) and nothing else: the decoded frame is the moved reference.

        Args:
            x, reference, flow: see forward.

        Raises:
            InputError: see forward; or the motion is not sent.
        """
        self._check(x, reference, flow)
        if not self.sends_motion:
            raise InputError("moved needs sends_motion=True and a coding of conditional or residual")
        flow, estimate, bits, latents = self._sent_motion(x, reference, flow)
        warped = flow_warp(reference, flow)
        return CodedFrame(warped, warped, flow, estimate, None, bits, latents)

    def _sent_motion(
        self, x: Tensor, reference: Tensor, flow: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Return the decoded motion, the reference moved by the estimated one, and its bits and latents."""
        flow = self.flow(x, reference) if flow is None else flow
        estimate = flow_warp(reference, flow)
        sent = self.motion.latent(self.motion.encoder(flow))
        bits, latents = {"mv_y": sent.bits_y, "mv_z": sent.bits_z}, {"mv_y": sent.y, "mv_z": sent.z}
        return self.motion.decoded(sent.y_hat, reference), estimate, bits, latents

    @torch.no_grad()
    def code(
        self,
        coder: LatentCoder,
        size: tuple[int, int],
        x: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """Write a frame (1, 3, *size) to a stream, or read it, and return what the decoder has: both by the same steps.

        Raises:
            InputError: the motion is not sent, so that a decoder could not have it.
        """
        if not self.sends_motion and self.coding != "intra":
            raise InputError("sends_motion=False leaves the motion out of the stream; set it to True")
        latent = (size[0] // 16, size[1] // 16)
        flow = None
        if reference is not None and self.sends_motion:
            y = None if x is None else self.motion.encoder(self.flow(x, reference))
            flow = self.motion.decoded(self.motion.latent.code(coder, (), latent, y), reference)
        warped, context = self.conditions(reference, flow)
        y = None if x is None else self.encoder(self.seen(x, warped, context))
        return self._decoded(self.latent.code(coder, self._known(context), latent, y), warped, context)

    def loss(self, coded: CodedFrame, x: Tensor, lmbda: float, stage: int = 4) -> Tensor:
        r"""Return what a stage of training minimises.

        Stage 1: :math:`\lambda \operatorname{MSE}(w, x)` and the bits of the motion; 2: :math:`\lambda
        \operatorname{MSE}(\hat x, x)`; 3: that and the bits of y and z; 4: that and all bits.

        Args:
            coded: what forward returned.
            x: the frames.
            lmbda: :math:`\lambda`, positive; more of it means more bits and less distortion.
            stage: from 1 to 4.

        Raises:
            InputError: the stage is unknown, or stage 1 has no motion.
        """
        _check_stage(stage)
        check_positive("lmbda", lmbda)
        bpp = coded.bpp()
        if stage == 1 and coded.warped is None:
            raise InputError("stage=1 trains the motion, which intra coding does not have; begin with 2")
        shown = coded.warped if stage == 1 and coded.warped is not None else coded.recon
        names = {1: ("mv_y", "mv_z"), 2: (), 3: ("y", "z"), 4: tuple(bpp)}[stage]
        return lmbda * F.mse_loss(shown, x) + sum((bpp[name] for name in names if name in bpp), x.new_zeros(()))

    def set_stage(self, stage: int) -> None:
        """Freeze the motion part in stages 2 and 3, and release it in the others.

        Raises:
            InputError: the stage is unknown.
        """
        _check_stage(stage)
        if self.sends_motion:
            for part in (self.flow, self.motion):
                part.requires_grad_(stage not in FROZEN)

    def _check(self, x: Tensor, reference: Tensor | None, flow: Tensor | None) -> None:
        if x.dim() != 4 or x.shape[1] != 3 or x.shape[2] % STEP or x.shape[3] % STEP:
            raise InputError(
                f"x of shape {tuple(x.shape)} must be (B, 3, H, W), with sides that are multiples of {STEP}"
            )
        if (reference is None) != (self.coding == "intra"):
            raise InputError(f"coding={self.coding!r} takes {'no' if reference is not None else 'a'} reference frame")
        if reference is not None and reference.shape != x.shape:
            raise InputError(f"reference of shape {tuple(reference.shape)} must have that of x, {tuple(x.shape)}")
        if flow is None and reference is not None and not self.sends_motion:
            raise InputError("flow=None needs sends_motion=True; pass the flow")

    def conditions(self, reference: Tensor | None, flow: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the reference moved by a flow, and the context; None where the coding has none."""
        if reference is None or flow is None:
            return None, None
        warped = flow_warp(reference, flow)
        if self.coding == "residual":
            return warped, None
        return warped, self.refine(flow_warp(self.extract(reference), flow))

    def _known(self, context: Tensor | None) -> list[Tensor]:
        return [] if context is None else [self.temporal(context)]

    def seen(self, x: Tensor, warped: Tensor | None, context: Tensor | None) -> Tensor:
        """Return what the encoder sees of frames (B, 3, H, W): with the context, or less the warped reference."""
        if context is not None:
            return torch.cat([x, context], 1)
        return x if warped is None else x - warped

    def _decoded(self, y_hat: Tensor, warped: Tensor | None, context: Tensor | None) -> Tensor:
        features = self.decoder(y_hat)
        if context is not None:
            return self.output(torch.cat([features, context], 1))
        return self.output(features) if warped is None else warped + self.output(features)


def _check_stage(stage: int) -> None:
    check_at_least("stage", stage, 1)
    check_at_most("stage", stage, STAGES)
