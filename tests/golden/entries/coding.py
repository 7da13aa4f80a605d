"""OpenDCVCs: conditional video coding (DCVC, arXiv 2109.15047; HEM, arXiv 2207.05894; DC, arXiv 2302.14402)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.models.coding import DCVC, latents
from convnn.nn.compression import (
    GDN,
    CheckerboardPrior,
    Coded,
    FactorizedBits,
    LaplaceBits,
    OffsetDiversity,
    QuadPrior,
    priors,
)
from convnn.ops.warping import flow_warp
from golden.case import Case
from golden.entry import Entry


def _normalized(_: object, case: Case) -> dict[str, Tensor]:
    """Return outputs and gradients of GDN and its inverse."""
    found = {}
    for name in ("gdn", "igdn"):
        given = case.named(name)
        layer = GDN(given["input"].shape[1], inverse=name == "igdn").double()
        layer.load_state_dict({key: given[f"param.{key}"] for key in ("beta", "gamma")})
        x = given["input"].clone().requires_grad_()
        with torch.enable_grad():
            y = layer(x)
            grads = torch.autograd.grad(y, [x, layer.beta, layer.gamma], given["grad_output"])
        names = ("grad_input", "grad.beta", "grad.gamma")
        found |= {f"{name}.output": y, **{f"{name}.{key}": grad for key, grad in zip(names, grads, strict=True)}}
    return found


class _Bits(nn.Module):
    """Both counts of bits in both forms, and the weighted sum whose gradients are published."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.factorized, self.laplace = FactorizedBits(case.tensors["z"].shape[1]), LaplaceBits("bound")
        self.weights = case.tensors["weight_y"], case.tensors["weight_z"]

    def forward(self, y: Tensor, scale: Tensor, z: Tensor) -> dict[str, Tensor]:
        safe = {"bits_y": self.laplace(y, scale), "bits_z": self.factorized(z)}
        total = sum((bits * weight).sum() for bits, weight in zip(safe.values(), self.weights, strict=True))
        self.factorized.form = "official"
        y_bits = LaplaceBits("clamp", "official")(y, scale)
        official = {"bits_y_official": y_bits, "bits_z_official": self.factorized(z)}
        return {"total": total, **safe, **official}


def _stacked(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    """Put the published numbers of the four layers of each distribution function together."""
    stems = {name.partition(".f1.h")[0] for name in named if name.endswith(".f1.h")}
    for stem in stems:
        for theirs, ours, layers in (("h", "slope", 4), ("b", "shift", 4), ("a", "bend", 3)):
            parts = [named.pop(f"{stem}.f{layer + 1}.{theirs}") for layer in range(layers)]
            named[f"{stem}.{ours}"] = torch.stack([part.flatten() for part in parts])
    return named


COST = ("y_res", "y_q", "y_hat", "scales_hat")


def _passes(ours: nn.Module, y: Tensor, params: Tensor) -> dict[str, Tensor]:
    coded: Coded = ours(y, params)
    streams = {
        f"stream.{number}.{name}": value
        for number, stream in enumerate(coded.streams)
        for name, value in zip(("symbols", "scales"), stream, strict=True)
    }
    costs = (coded.residual, coded.symbols, coded.y_hat, coded.scales)
    return dict(zip(COST, costs, strict=True)) | streams


def _quad(case: Case) -> QuadPrior:
    channels = case.config["channels"]
    return QuadPrior(channels, nn.Conv2d(3 * channels, 2 * channels, 3, padding=1))


def _dual(case: Case) -> CheckerboardPrior:
    channels = case.tensors["y"].shape[1]
    return CheckerboardPrior(channels, nn.Conv2d(4 * channels, 2 * channels, 3, padding=1))


def _two_passes(ours: nn.Module, y: Tensor, means: Tensor, scales: Tensor, *steps: Tensor | None) -> dict[str, Tensor]:
    """Give ours the parameters in its order; the step of quantisation has one of two names."""
    (step,) = (one for one in steps if one is not None)
    return _passes(ours, y, torch.cat([step, scales, means], 1))


def _offsets(case: Case) -> OffsetDiversity:
    """Build ours from the shapes of the published weights: the fusion mixes C K / G channels in each of G groups."""
    weights = case.named("param")
    first, last, fusion = (weights[f"{name}.weight"] for name in ("conv_offset.0", "conv_offset.4", "fusion"))
    channels, count = fusion.shape[0], last.shape[0] // 3
    groups = math.isqrt(channels * count // fusion.shape[1])
    return OffsetDiversity(channels, first.shape[1], groups=groups, offsets=count // groups, width=first.shape[0])


def _fetched(ours: nn.Module, flow: Tensor, *named: Tensor | None) -> Tensor:
    x, aux = (one for one in named if one is not None)
    return ours(x, aux, flow)


SIDE, EVERY = 64, 8
OF_DCVC = {
    "mvEncoder": "motion.encoder",
    "mvDecoder_part1": "motion.decoder",
    "mvDecoder_part2": "motion.refiner",
    "mvpriorEncoder": "motion.latent.encoder",
    "mvpriorDecoder": "motion.latent.decoder",
    "auto_regressive_mv": "motion.latent.prior.context",
    "entropy_parameters_mv": "motion.latent.prior.mix",
    "bitEstimator_z_mv": "motion.latent.bits_z",
    "feature_extract": "extract",
    "context_refine": "refine",
    "contextualEncoder": "encoder",
    "contextualDecoder_part1": "decoder",
    "contextualDecoder_part2": "output",
    "temporalPriorEncoder": "temporal",
    "priorEncoder": "latent.encoder",
    "priorDecoder": "latent.decoder",
    "auto_regressive": "latent.prior.context",
    "entropy_parameters": "latent.prior.mix",
    "bitEstimator_z": "latent.bits_z",
    "conv1": "residual.1",
    "conv2": "residual.3",
    "conv.0": "residual.0",
    "conv.2": "residual.2",
}


def _codec(case: Case) -> DCVC:
    """Build a codec that is given its flow, where the published flow network would estimate it."""
    config = case.config
    sizes = (config[name] for name in ("channels_N", "channels_M", "channels_mv", "refine_channels"))
    codec = DCVC(*sizes)
    codec.flow = nn.Identity()
    codec.stage, codec.lmbda = config.get("stage", 4), config.get("lmbda", 256.0)
    return codec


def _frame(ours: DCVC, *coarse: Tensor) -> dict[str, Tensor]:
    x, reference, flow = (F.interpolate(one, (SIDE, SIDE), mode="bilinear", align_corners=False) for one in coarse)
    coded = ours(x, reference, flow)
    bpp = coded.bpp()
    shown = {"recon": coded.recon, "pixel_rec": coded.warped, "context": coded.context}
    return {
        "loss": ours.loss(coded, x, ours.lmbda, ours.stage),
        "mse": F.mse_loss(coded.warped if ours.stage == 1 else coded.recon, x),
        "bpp": sum(bpp.values()),
        "recon_mean": coded.recon.mean(),
        **{f"bpp_{name}": value for name, value in bpp.items()},
        **coded.latents,
        **{f"{name}_sub": value[..., ::EVERY, ::EVERY] for name, value in shown.items()},
    }


@contextmanager
def _drawn(case: Case) -> Iterator[None]:
    """Draw the published noise, and let masked weights have gradients, as published."""
    order = [f"draw.{name}" for name in ("z_mv", "mv", "z", "y")]
    draws = iter([case.tensors[name] for name in order if name in case.tensors])
    noise = lambda _: next(draws)  # noqa: E731

    def straight(conv: priors.MaskedConv2d) -> Tensor:
        return conv.weight * conv.seen + (conv.weight - conv.weight.detach()) * ~conv.seen

    with (
        patch.object(priors, "uniform_noise", noise),
        patch.object(latents, "uniform_noise", noise),
        patch.object(priors.MaskedConv2d, "kernel", straight),
    ):
        yield


DUAL = Entry(
    _dual,
    inputs=("y", "means", "scales", "q", "quant_step"),
    outputs=COST,
    names=dict.fromkeys(("spatial_prior", "y_spatial_prior", "net"), "network"),
    call=_two_passes,
)
OFFSETS = Entry(
    _offsets, inputs=("flow", "x", "input", "aux", "aux_feature"), names={"conv_offset": "network"}, call=_fetched
)

ENTRIES = {
    "DCVC": Entry(
        _codec,
        inputs=("current_coarse", "reference_coarse", "flow_coarse"),
        outputs=("loss",),
        names=OF_DCVC,
        arrange=_stacked,
        call=_frame,
        draws=_drawn,
    ),
    "warp and GDN": Entry(
        lambda _: flow_warp, inputs=("input", "flow"), outputs=("warped",), also=_normalized, aside=("gdn", "igdn")
    ),
    "bit estimates": Entry(
        _Bits, inputs=("y", "scale", "z"), names={"bit_estimator": "factorized"}, arrange=_stacked, outputs=("total",)
    ),
    "four-part prior (DC)": Entry(
        _quad,
        inputs=("y", "common_params"),
        outputs=COST,
        names={"spatial_prior": "network", **{f"adaptor_{i + 1}": f"adapt.{i}" for i in range(3)}},
        call=_passes,
    ),
    **dict.fromkeys(("dual prior (HEM)", "dual prior"), DUAL),
    **dict.fromkeys(("offset diversity (DC)", "offset diversity"), OFFSETS),
}
