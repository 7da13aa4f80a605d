"""OpenDCVCs: conditional coding of video, trained from nothing with each prior."""

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from convnn.data.clips import moving_clips
from convnn.models.coding import DCVC, PRIORS

SYSTEM = "OpenDCVCs: conditional video coding"
CLAIM = (
    "A frame coded under the condition of what its motion brings takes fewer bits and less distortion than the residual"
    " of that prediction, and this than the frame by itself; every codec of the family trains from nothing."
)
EXPERIMENT = (
    "Frames of 64 x 64: a moving texture, a disc of another one in front, a change of brightness. The true frame before"
    " and the true flow are given free. DCVC with 8 channels, 12 of the latent, 256 times the squared error plus bits"
    " of a pixel, Adam at 2e-3 along a cosine, 2 frames a step, autoregressive prior: on 64 new frames after 1,200"
    " steps. Then conditional coding with each prior: that sum after 150 steps, as a share of what it was before."
)
SEEDS = (0,)
CODINGS = ("intra", "residual", "conditional")
LAMBDA, SHORT = 256.0, 150


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, short = (2, 2) if quick else (1200, SHORT)
    found = {coding: [trained(coding, "ar", seed, steps) for seed in seeds] for coding in CODINGS}
    total = {coding: [after["total"] for _, after in runs] for coding, runs in found.items()}
    fell = {prior: [trained("conditional", prior, seed, short) for seed in seeds] for prior in PRIORS}
    shares = {prior: [after["total"] / before["total"] for before, after in runs] for prior, runs in fell.items()}
    intra, residual, conditional = (total[coding] for coding in CODINGS)
    return Outcome(
        [
            ["coding", "prior", "bits and 256 x error", "bits of a pixel", "PSNR, dB", f"share after {SHORT} steps"],
            *([coding, "ar", spread(total[coding], ".2f"), *figures(runs), ""] for coding, runs in found.items()),
            *(["conditional", prior, "", "", "", spread(ratios, ".3f")] for prior, ratios in shares.items()),
        ],
        {
            "conditional coding has the smaller sum than residual coding": is_above(residual, conditional),
            "residual coding has the smaller sum than intra coding": is_above(intra, residual),
            "the sum falls below a quarter with each prior": all(max(ratios) < 0.25 for ratios in shares.values()),
        },
    )


def figures(runs: list[tuple[dict, dict]]) -> list[str]:
    return [spread([after[name] for _, after in runs], form) for name, form in (("bpp", ".3f"), ("psnr", ".1f"))]


def trained(coding: str, prior: str, seed: int, steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """Train a codec, and return its scores before and after."""
    torch.manual_seed(seed)
    codec, generator = DCVC(8, 12, coding=coding, prior=prior, sends_motion=False), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(codec.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    before = scores(codec, 1000 + seed)
    codec.train()
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = drawn(2, generator, coding)
        codec.loss(codec(*inputs), inputs[0], LAMBDA).backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return before, scores(codec, 1000 + seed)


def drawn(number: int, generator: torch.Generator, coding: str) -> tuple[Tensor, ...]:
    clips = moving_clips(number, generator, frames=2)
    return (clips.frames[:, 1], *(() if coding == "intra" else (clips.frames[:, 0], clips.flows[:, 0])))


@torch.no_grad()
def scores(codec: DCVC, seed: int) -> dict[str, float]:
    inputs = drawn(64, torch.Generator().manual_seed(seed), codec.coding)
    coded = codec.eval()(*inputs)
    error, bpp = F.mse_loss(coded.recon, inputs[0]).item(), sum(coded.bpp().values()).item()
    return {"total": LAMBDA * error + bpp, "bpp": bpp, "psnr": -10 * torch.tensor(error).log10().item()}
