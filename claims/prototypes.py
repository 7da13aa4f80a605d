"""Kernels that an image updates by prototypes live in one space with those of classes that were never learned."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._objects import scenes
from convnn.nn import PrototypicalKernelHead, novel_kernel, prototype_loss
from convnn.tasks.segment.foreground import ForegroundPerception, conditional_bias_argmax

SYSTEM = "PKL: kernels updated by prototypes"
CLAIM = (
    "Kernels learned for the base classes are not comparable with prototypes of new ones; updated by prototypes of the"
    " image they are. Foreground of any class, found in the surroundings, weakens the background where it is."
)
EXPERIMENT = (
    "Images of 20 x 20 with a colour cast, grey noise, and 2 discs or squares (in the test 3), of a colour and stripes"
    " for each of 3 base and 2 new classes; 80 images to train, 5 for each new class, 60 for the test. Three"
    " convolutions of 24, 24 and 16 channels and a head of kernels, 250 steps of Adam on 8 images. Intersection over"
    " union, in percent, of background, base and new classes."
)
SEEDS = (0, 1, 2, 3, 4)
BASE = 4  # classes, with the background
WAYS = {"learned kernels": (0, 0.0), "updated": (1, 0.0), "updated, foreground": (1, 2.0)}


class Network(nn.Module):
    def __init__(self, stages: int) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise((3, 24, 24, 16)))
        self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        self.head, self.branch = PrototypicalKernelHead(16, BASE, stages=stages), ForegroundPerception(16, 16)

    def loss(self, images: Tensor, label: Tensor) -> Tensor:
        features = self.body(images)
        objects = F.binary_cross_entropy_with_logits(self.branch(features.detach()), (label > 0).float())
        return prototype_loss(self.head(features), label) + objects


def scores(stages: int, beta: float, seed: int, steps: int) -> list[float]:
    """Train, and return the intersection over union, in percent, of background, base and new classes."""
    torch.manual_seed(seed)
    network = Network(stages)
    descend(network, scenes(80, [1, 2, 3], 2, torch.Generator().manual_seed(seed)), steps)
    draw = torch.Generator().manual_seed(1000 + seed)
    shots = [scenes(5, [kind], 2, draw) for kind in (4, 5)]
    images, labels = scenes(60, [1, 2, 3, 4, 5], 3, draw)
    with torch.no_grad():
        new = [novel_kernel(network.body(x), label > 0, network.head.weight) for x, label in shots]
        features = network.body(images)
        logits = network.head(features, novel=torch.stack(new)).logits
        found = conditional_bias_argmax(logits, network.branch(features), beta)
    both = [((found == k) & (labels == k)).sum() / ((found == k) | (labels == k)).sum() for k in range(6)]
    return [100 * torch.stack(part).mean().item() for part in (both[:1], both[1:BASE], both[BASE:])]


def descend(network: Network, data: tuple[Tensor, Tensor], steps: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(steps):
        some = torch.randint(len(data[0]), (8,))
        optimizer.zero_grad()
        network.loss(data[0][some], data[1][some]).backward()
        optimizer.step()


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {name: [scores(*way, seed, 5 if quick else 250) for seed in seeds] for name, way in WAYS.items()}
    columns = {name: list(map(list, zip(*each, strict=True))) for name, each in found.items()}
    plain, updated, biased = columns.values()
    return Outcome(
        [["", "background", "base", "new"], *([name, *map(spread, each)] for name, each in columns.items())],
        {
            "updated kernels are above learned ones on base classes": is_above(updated[1], plain[1]),
            "and on new classes": is_above(updated[2], plain[2]),
            "the foreground raises new classes further": is_above(biased[2], updated[2]),
        },
    )
