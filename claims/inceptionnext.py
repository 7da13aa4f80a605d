"""InceptionNeXt: the speed of small kernels with the reach of a large one."""

import statistics
import time

import torch
from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import BandConv2d, ConvMaker, InceptionDW2d

SYSTEM = "InceptionNeXt: square and bands"
CLAIM = (
    "A square and two bands, for a share of the channels each, replace a large kernel: faster, at no lower accuracy."
)
EXPERIMENT = (
    "InceptionDW with bands of 11, and depthwise convolutions of 11 x 11, each before a 1x1 convolution. Accuracy in"
    " percent: two of them of 64 channels between 1x1 convolutions on scikit-learn's digits, 300 steps of 64 images."
    " Time: the kernels alone, 64 channels on 32 x 32 positions, batch 8, channels last, forward and backward, median"
    " of 9 passes, as processor time of one thread."
)
SEEDS = (0, 1, 2)
LAYERS = {
    "square and bands": InceptionDW2d,
    "11 x 11": lambda i, o: nn.Sequential(ConvMaker(2).depthwise(i, 11), nn.Conv2d(i, o, 1)),
}
KERNELS = {"square and bands": lambda: BandConv2d(64), "11 x 11": lambda: ConvMaker(2).depthwise(64, 11)}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, passes = (5, 1) if quick else (300, 9)
    scores = {name: [digits_accuracy(make, seed, steps, width=64) for seed in seeds] for name, make in LAYERS.items()}
    kernels = {name: make() for name, make in KERNELS.items()}
    times = {name: milliseconds(kernel, passes) for name, kernel in kernels.items()}
    counts = {name: sum(p.numel() for p in kernel.parameters()) for name, kernel in kernels.items()}
    bands, large = LAYERS
    return Outcome(
        [
            ["kernels", "accuracy, %", "ms", "parameters"],
            *([name, spread(scores[name]), f"{times[name]:.1f}", f"{counts[name]:,}"] for name in LAYERS),
        ],
        {
            "the accuracy is not below that of the large kernel": not is_above(scores[large], scores[bands]),
            "they take less than half of the time": times[bands] < times[large] / 2,
            "they have less than a tenth of the parameters": counts[bands] < counts[large] / 10,
        },
    )


def milliseconds(kernel: nn.Module, passes: int) -> float:
    """Return the median time of forward and backward, after one warm-up pass."""
    kernel, times = kernel.to(memory_format=torch.channels_last), []
    x = torch.randn(8, 64, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    for _ in range(passes + 1):
        start = time.process_time()
        kernel(x).sum().backward()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times[1:])
