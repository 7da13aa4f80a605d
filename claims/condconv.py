"""CondConv: capacity by mixing kernels, at the cost of one convolution."""

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.nn import CondConv2d
from convnn.train import summarize

SYSTEM = "CondConv: mixed experts"
CLAIM = "A kernel mixed of experts for every image raises the accuracy at nearly the operations of one convolution."
EXPERIMENT = (
    "Two layers of 8 channels, 3 x 3, between 1x1 convolutions on scikit-learn's digits, of which half are turned by a"
    " quarter: accuracy in percent after 300 steps of 64 images. A convolution; CondConv of 4 experts; and CondConv"
    " whose shares are all a half, which is a convolution with as many weights. Operations and parameters are those of"
    " one layer on an 8 x 8 map."
)
SEEDS = (0, 1, 2, 3, 4)
WIDTH = 8


class Fixed(CondConv2d):
    def shares(self, x: Tensor) -> Tensor:
        return torch.full_like(super().shares(x), 0.5)


LAYERS = {
    "convolution": lambda i, o: nn.Conv2d(i, o, 3, padding=1),
    "4 experts, shares by the image": CondConv2d,
    "4 experts, equal shares": Fixed,
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    found = {name: [trial(layer, seed, steps) for seed in seeds] for name, layer in LAYERS.items()}
    costs = {name: summarize(layer(WIDTH, WIDTH), (WIDTH, 8, 8)) for name, layer in LAYERS.items()}
    plain, routed, fixed = found.values()
    ratio = costs["4 experts, shares by the image"].gflops / costs["convolution"].gflops
    return Outcome(
        [
            ["layer", "accuracy, %", "operations", "parameters"],
            *(
                [name, spread(found[name]), f"{1e9 * cost.gflops:,.0f}", f"{cost.parameters:,}"]
                for name, cost in costs.items()
            ),
        ],
        {
            "CondConv is better than the convolution": is_above(routed, plain),
            "and than as many experts with equal shares": is_above(routed, fixed),
            "its operations are at most 1.2 times those of the convolution": ratio <= 1.2,
        },
    )


def turned(images: Tensor) -> Tensor:
    """Turn every second image by a quarter."""
    out = images.clone()
    out[1::2] = images[1::2].rot90(1, (2, 3))
    return out


def trial(layer, seed: int, steps: int) -> float:
    images, labels, test_images, test_labels = digits()

    def make() -> nn.Module:
        blocks = [(layer(WIDTH, WIDTH), nn.BatchNorm2d(WIDTH), nn.ReLU()) for _ in range(2)]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))
        return nn.Sequential(nn.Conv2d(1, WIDTH, 1), *(part for block in blocks for part in block), *head)

    network = fit(make, turned(images), labels, seed=seed, steps=steps)
    return accuracy(network, turned(test_images), test_labels)
