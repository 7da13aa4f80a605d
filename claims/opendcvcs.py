"""OpenDCVCs: conditional coding of video, trained from nothing with each prior."""

from claims._codecs import SmallCodec, trained
from claims._experiment import Outcome, is_above, spread
from convnn.models.coding import DCVC, PRIORS

SYSTEM = "OpenDCVCs: conditional video coding"
CLAIM = (
    "A frame coded under the condition of what its motion brings takes fewer bits and less distortion than the residual"
    " of that prediction, and this than the frame by itself; every codec of the family trains from nothing."
)
EXPERIMENT = (
    "Frames of 32 x 32: a moving texture, a disc of another one in front, a change of brightness, and a new object of 8"
    " x 8 in each frame. The true frame before and the true flow are given free. One latent of 12 channels at an eighth"
    " of the resolution, N = 16, straight-through rounding, 256 times the squared error plus bits of a pixel, Adam at"
    " 2e-3 along a cosine, 16 frames a step: on 64 new frames after 1,500 steps. Then DCVC with 8 channels on 64 x 64"
    " with each prior, 2 frames a step: that sum after 150 steps, as a share of what it was before."
)
SEEDS = (0,)
CODINGS = ("intra", "residual", "conditional")
STEPS, SHORT = 1500, 150


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, short = (2, 2) if quick else (STEPS, SHORT)
    found = {coding: [trained(SmallCodec, coding, seed, steps, 32, 16) for seed in seeds] for coding in CODINGS}
    total = {coding: [after["total"] for _, after in runs] for coding, runs in found.items()}
    whole = {
        prior: lambda coding, prior=prior: DCVC(8, 12, coding=coding, prior=prior, sends_motion=False)
        for prior in PRIORS
    }
    fell = {
        prior: [trained(make, "conditional", seed, short, 64, 2) for seed in seeds] for prior, make in whole.items()
    }
    shares = {prior: [after["total"] / before["total"] for before, after in runs] for prior, runs in fell.items()}
    intra, residual, conditional = (total[coding] for coding in CODINGS)
    return Outcome(
        [
            ["coding", "prior", "bits and 256 x error", "bits of a pixel", "PSNR, dB", f"share after {SHORT} steps"],
            *([coding, "", spread(total[coding], ".2f"), *figures(runs), ""] for coding, runs in found.items()),
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
