"""The effective receptive field grows with the kernel, but only with the root of the depth."""

import torch
from torch import nn

from claims._experiment import Outcome, is_above, spread
from convnn.nn import ConvMaker
from convnn.viz import field_sides, receptive_field

SYSTEM = "UniRepLKNet journal: effective receptive field"
CLAIM = (
    "The effective receptive field is of the order of the kernel's side times the root of the number of layers:"
    " larger kernels enlarge it as more layers cannot."
)
EXPERIMENT = (
    "Stacks of depthwise convolutions of 8 channels without bias, each followed by a 1x1 convolution, before"
    " training: the side of the square around the middle that holds half of the contributions to it, on 4 images of"
    " noise of 95 x 95. Four times the layers should double it."
)
SEEDS = (0, 1, 2, 3, 4)
STACKS = {
    "4 of 3 x 3": (4, 3),
    "16 of 3 x 3": (16, 3),
    "4 of 7 x 7": (4, 7),
    "12 of 3 x 3": (12, 3),
    "4 of 13 x 13": (4, 13),
    "24 of 3 x 3": (24, 3),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    sides = {name: [side(*stack, seed) for seed in seeds] for name, stack in STACKS.items()}
    small, _, seven, twelve, thirteen, many = sides.values()
    times = {name: [one / first for one, first in zip(of, small, strict=True)] for name, of in sides.items()}
    return Outcome(
        [
            ["stack", "side of the field", "times that of the first"],
            *([name, spread(sides[name]), spread(times[name], ".2f")] for name in STACKS),
        ],
        {
            "4 layers of 7 x 7 have a larger one than 12 of 3 x 3, which reach as far": is_above(seven, twelve),
            "4 layers of 13 x 13 have a larger one than 24 of 3 x 3, which reach as far": is_above(thirteen, many),
            "four times the layers enlarge it less than three times": is_above(
                [3.0] * len(seeds), times["16 of 3 x 3"]
            ),
        },
    )


def side(layers: int, kernel_size: int, seed: int) -> float:
    """Return the side of the square that holds half of the contributions to the middle of a stack's output."""
    torch.manual_seed(seed)
    make = ConvMaker(2)
    parts = [part for _ in range(layers) for part in (make.depthwise(8, kernel_size, bias=False), nn.Conv2d(8, 8, 1))]
    stack = nn.Sequential(nn.Conv2d(3, 8, 1), *parts)
    scores = receptive_field(stack, torch.randn(4, 3, 95, 95))
    return field_sides(scores / scores.max(), (0.5,))[0].side or 95
