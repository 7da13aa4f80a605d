"""Long convolutions: squashed taps learn a long kernel from less data than free ones."""

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from convnn.nn import LagConv, SquashedKernel, convolve

SYSTEM = "Long convolution: squashed taps"
CLAIM = "Squashing the taps of a free kernel regularises it: it becomes sparse, and generalises better."
EXPERIMENT = (
    "A causal kernel of 256 taps, 8 of which are not 0, is to be learned from 16 signals of white noise and its"
    " convolutions with noise of the same deviation. 256 taps, squashed by 0.02, against free ones, both from"
    " N(0, 0.05) by 600 steps of AdamW on the squared error. Error: of the output on new signals without noise,"
    " relative to its square."
)
SEEDS = (0, 1, 2, 3, 4)
LENGTH, SQUASHES = 256, (0.0, 0.02)


def signals(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return signals and their convolutions with the kernel to be learned."""
    taps = torch.zeros(LENGTH)
    taps[torch.randperm(LENGTH, generator=torch.Generator().manual_seed(7))[:8]] = 8**-0.5
    x = torch.randn(number, 1, LENGTH, generator=torch.Generator().manual_seed(seed))
    return x, convolve(x, taps.flip(0).view(1, 1, -1), before=LENGTH - 1)


def operator(lam: float) -> LagConv:
    kernel = SquashedKernel(1, l_max=LENGTH, lam=lam, bidirectional=False)
    torch.nn.init.normal_(kernel.taps, std=0.05)
    return LagConv(kernel)


def measure(seeds: list[int], quick: bool) -> Outcome:
    errors: dict[float, list[float]] = {lam: [] for lam in SQUASHES}
    zeros: dict[float, list[float]] = {lam: [] for lam in SQUASHES}
    for lam in SQUASHES:
        for seed in seeds:
            x, clean = signals(16, seed)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(100 + seed))
            noisy = clean + clean.std() * noise
            steps = 3 if quick else 600
            trained = fit(lambda lam=lam: operator(lam), x, noisy, seed=seed, steps=steps, loss=F.mse_loss, lr=1e-2)
            test, expected = signals(32, 1000 + seed)
            with torch.no_grad():
                errors[lam].append(100 * (F.mse_loss(trained(test), expected) / expected.square().mean()).item())
                zeros[lam].append(100 * (trained.conv.kernel.values() == 0).double().mean().item())
    rows = [[str(lam), spread(zeros[lam]), spread(errors[lam])] for lam in SQUASHES]
    return Outcome(
        [["lam", "taps that are 0, %", "error, %"], *rows],
        {
            "the squashed kernel is sparse": min(zeros[0.02]) > 25,
            "its error is lower": is_above(errors[0.0], errors[0.02]),
        },
    )
