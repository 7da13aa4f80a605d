"""FlexConv: the learned size follows that of the kernel that is to be learned."""

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from convnn.nn import FlexConv2d

SYSTEM = "FlexConv: learned size"
CLAIM = "The size of a kernel can be learned by gradients, and follows what the task needs."
EXPERIMENT = (
    "FlexConv with one channel, a horizon of 25 and a Gaussian of initial width 0.15, 9 x 9 taps, is to learn the"
    " convolution of white noise of 24 x 24 with a Gaussian blob of 3 x 3 or of 17 x 17 taps, from 256 maps by 400"
    " steps of AdamW on the squared error. Error: on new maps, relative to the square of the output."
)
SEEDS = (0, 1, 2)
SIDES = (3, 17)


def maps(number: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return maps and their convolutions with a blob."""
    along = torch.exp(-0.5 * (torch.linspace(-1.5, 1.5, side)).square())
    blob = along.unsqueeze(1) * along
    x = torch.randn(number, 1, 24, 24, generator=torch.Generator().manual_seed(seed))
    return x, F.conv2d(x, (blob / blob.norm()).view(1, 1, side, side), padding=side // 2)


def measure(seeds: list[int], quick: bool) -> Outcome:
    learned: dict[int, list[float]] = {side: [] for side in SIDES}
    errors: dict[int, list[float]] = {side: [] for side in SIDES}
    for side in SIDES:
        for seed in seeds:
            x, y = maps(256, side, seed)
            trained = fit(
                lambda: FlexConv2d(1, 1, horizon=25, mask_init_value=0.15, input_scale=5.0),
                x,
                y,
                seed=seed,
                steps=3 if quick else 400,
                loss=F.mse_loss,
                lr=1e-2,
            )
            test, expected = maps(64, side, 1000 + seed)
            with torch.no_grad():
                sides = trained.operator.sides((24, 24))
                learned[side].append(sum(sides) / len(sides))
                errors[side].append(
                    100 * ((trained(test) - expected).square().mean() / expected.square().mean()).item()
                )
    rows = [[f"{side} x {side}", spread(learned[side]), spread(errors[side])] for side in SIDES]
    return Outcome(
        [["blob", "learned taps along an axis", "error, %"], *rows],
        {
            "the larger blob has the larger kernel": is_above(learned[17], learned[3]),
            "the small one makes the kernel smaller than at first": max(learned[3]) < 9,
            "both are learned to a tenth": max(max(errors[side]) for side in SIDES) < 10,
        },
    )
