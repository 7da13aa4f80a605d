"""RepLKNet: few large kernels see more than many small ones."""

import torch
from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import RepLK2d, merge
from convnn.train import summarize
from convnn.viz import field_sides, receptive_field

SYSTEM = "RepLKNet: large kernel"
CLAIM = (
    "A few large kernels have a larger effective receptive field than many small ones that reach as far; a small kernel"
    " beside the large one helps to train it, and costs nothing at inference."
)
EXPERIMENT = (
    "Field: 2 layers with kernels of 13 x 13 and 12 of 3 x 3, of 16 channels, with normalisation and ReLU after each,"
    " before training: the side of the square around the middle that holds half of the contributions to it, on 8"
    " images of noise of 63 x 63. Accuracy in percent: two layers of 16 channels, with kernels of 13 x 13, between 1x1"
    " convolutions on scikit-learn's digits, 300 steps of 64 images. Parameters of one layer of 64 channels, 13 x 13."
)
SEEDS = (0, 1, 2)
KERNEL = 13


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    sides = {
        name: [side(*stack, seed) for seed in seeds] for name, stack in {"large": (2, 13), "small": (12, 3)}.items()
    }
    with_small = [digits_accuracy(lambda i, o: RepLK2d(i, o, kernel_size=KERNEL), seed, steps) for seed in seeds]
    alone = [
        digits_accuracy(lambda i, o: RepLK2d(i, o, kernel_size=KERNEL, small_kernel=0), seed, steps) for seed in seeds
    ]
    layer = RepLK2d(64, 64, kernel_size=KERNEL).eval()
    parts = [summarize(one, (64, 32, 32)).parameters for one in (layer, merge(layer).model)]
    return Outcome(
        [
            ["", "side of the field", "accuracy, %", "parameters"],
            ["2 large kernels", spread(sides["large"], ".0f"), "", ""],
            ["12 small kernels", spread(sides["small"], ".0f"), "", ""],
            ["large, with a small one beside it", "", spread(with_small), f"{parts[0]:,}"],
            ["the same, merged", "", "", f"{parts[1]:,}"],
            ["large alone", "", spread(alone), ""],
        ],
        {
            "the field of the large kernels is larger": is_above(sides["large"], sides["small"]),
            "the small kernel raises the accuracy": is_above(with_small, alone),
            "merged, the layer has the parameters of the large kernel": parts[1] == 64 * (KERNEL**2 + 1) + 64 * 65,
        },
    )


def side(number: int, kernel_size: int, seed: int) -> float:
    """Return the side of the square that holds half of the contributions to the middle of a stack's output."""
    torch.manual_seed(seed)
    layers = [(RepLK2d(16, 16, kernel_size=kernel_size, small_kernel=0), nn.ReLU()) for _ in range(number)]
    stack = nn.Sequential(nn.Conv2d(3, 16, 1), *(part for layer in layers for part in layer))
    images = torch.randn(8, 3, 63, 63)
    with torch.no_grad():
        stack(images)  # statistics of the normalisation
    return field_sides(receptive_field(stack, images), (0.5,))[0].side or images.shape[2]
