"""SGConv: few weights with decay learn a long kernel from less data than free taps."""

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from convnn.nn import LagConv, PyramidKernel, SquashedKernel, convolve

SYSTEM = "SGConv: growing blocks"
CLAIM = "Kernels whose number of weights grows with the logarithm of the length, and which decay, learn from less data."
EXPERIMENT = (
    "A causal kernel of 512 taps, a cosine of 6 periods that decays to 1 / e in 64 taps, is to be learned from 8"
    " signals of white noise and its convolutions with noise of half their deviation. PyramidKernel with blocks of 8"
    " values against 512 free taps, both by 600 steps of AdamW on the squared error. Error: of the output on new"
    " signals without noise, relative to its square."
)
SEEDS = (0, 1, 2, 3, 4)
LENGTH = 512


def signals(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return signals and their convolutions with the kernel to be learned."""
    lags = torch.arange(LENGTH)
    taps = torch.cos(2 * torch.pi * 6 * lags / LENGTH) * torch.exp(-lags / 64)
    x = torch.randn(number, 1, LENGTH, generator=torch.Generator().manual_seed(seed))
    return x, convolve(x, (taps / taps.norm()).flip(0).view(1, 1, -1), before=LENGTH - 1)


def measure(seeds: list[int], quick: bool) -> Outcome:
    makers = {
        "growing blocks": lambda: PyramidKernel(1, l_max=LENGTH, kernel_dim=8, bidirectional=False),
        "free taps": lambda: SquashedKernel(1, l_max=LENGTH, lam=0.0, bidirectional=False),
    }
    errors: dict[str, list[float]] = {name: [] for name in makers}
    weights = {name: sum(p.numel() for p in make().parameters()) for name, make in makers.items()}
    for name, make in makers.items():
        for seed in seeds:
            x, clean = signals(8, seed)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(100 + seed))
            noisy = clean + 0.5 * clean.std() * noise
            steps = 3 if quick else 600
            trained = fit(lambda make=make: LagConv(make()), x, noisy, seed=seed, steps=steps, loss=F.mse_loss, lr=1e-2)
            test, expected = signals(32, 1000 + seed)
            with torch.no_grad():
                errors[name].append(100 * (F.mse_loss(trained(test), expected) / expected.square().mean()).item())
    rows = [[name, str(weights[name]), spread(errors[name])] for name in makers]
    return Outcome(
        [["kernel", "weights", "error, %"], *rows],
        {
            "it has at most a sixth of the weights": 6 * weights["growing blocks"] <= weights["free taps"],
            "its error is lower": is_above(errors["free taps"], errors["growing blocks"]),
        },
    )
