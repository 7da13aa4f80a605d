"""Kernel sharing: far fewer parameters at a small loss."""

from torch import nn

from claims._experiment import Outcome, spread
from claims._learn import accuracy, digits, fit
from convnn.models import ConvMixer, create_model
from convnn.nn import layer_factory, share_kernels
from convnn.train import summarize

SYSTEM = "Kernel sharing"
CLAIM = (
    "Layers of one shape can share their kernel: a tenth of the parameters, or less, loses few percent of accuracy, and"
    " depth adds to the accuracy without adding to the kernels."
)
EXPERIMENT = (
    "ConvMixer of 32 channels, patches of 1 pixel and kernels of 9 x 9, of 8 blocks, on scikit-learn's digits: accuracy"
    " in percent after 150 steps of 64 images, with kernels of their own, with shared ones, and of a single block."
    " Parameters of the published ConvMixer-256/16, with and without sharing."
)
SEEDS = (0, 1, 2)
FORMS = {
    "8 blocks, own kernels": (8, "none"),
    "8 blocks, shared kernels": (8, "stage"),
    "1 block": (1, "none"),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 150
    found = {name: [trial(*form, seed, steps) for seed in seeds] for name, form in FORMS.items()}
    sizes = {name: size(*form) for name, form in FORMS.items()}
    published = [
        summarize(create_model("convmixer_256_16", share_kernels=one), (3, 8, 8)).parameters
        for one in ("none", "stage")
    ]
    own, shared, single = (sum(scores) / len(scores) for scores in found.values())
    return Outcome(
        [
            ["network", "accuracy, %", "parameters"],
            *([name, spread(scores), f"{sizes[name]:,}"] for name, scores in found.items()),
            ["ConvMixer-256/16, own kernels", "", f"{published[0]:,}"],
            ["ConvMixer-256/16, shared kernels", "", f"{published[1]:,}"],
        ],
        {
            "sharing loses at most 3.6 points, as in the paper": own - shared <= 3.6,
            "blocks that share a kernel are better than a single one": shared > single,
            "ConvMixer-256/16 has a tenth of the parameters, or fewer": published[1] <= published[0] / 10,
        },
    )


def network(depth: int, share: str) -> ConvMixer:
    model = ConvMixer(32, depth, 9, 1, nn.GELU, layer_factory("Conv2d"), in_channels=1)
    if share != "none":
        share_kernels(model, scope=share)
    return model


def size(depth: int, share: str) -> int:
    return sum(parameter.numel() for parameter in network(depth, share).parameters())


def trial(depth: int, share: str, seed: int, steps: int) -> float:
    images, labels, test_images, test_labels = digits()
    model = fit(lambda: network(depth, share), images, labels, seed=seed, steps=steps)
    return accuracy(model, test_images, test_labels)
