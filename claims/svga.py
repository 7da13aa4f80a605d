"""SVGA: a fixed graph without search."""

import statistics
import time

import torch

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import LayerFactory, SVGA2d, ViG2d
from convnn.train import summarize

SYSTEM = "MobileViG: SVGA"
CLAIM = "A fixed graph of the same row and column avoids the neighbour search, at no lower accuracy."
EXPERIMENT = (
    "SVGA with step 2 and Vision GNN with K = 9, both after a positional encoding of 7 x 7. Accuracy in percent: two"
    " layers of 16 channels between 1x1 convolutions on scikit-learn's digits, 300 steps of 64 images. Cost: one layer"
    " of 64 channels on 32 x 32 positions, forward, batch 4: operations as torch counts them, and the median time of 9"
    " passes."
)
SEEDS = (0, 1, 2)
CONTESTANTS = {
    "SVGA": lambda i, o: SVGA2d(i, o, step=2, positional_size=7),
    "ViG": lambda i, o: ViG2d(i, o, K=9, positional_size=7),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, side, passes = (5, 8, 1) if quick else (300, 32, 9)
    scores = {name: [digits_accuracy(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    gflops = {name: summarize(make(64, 64), (64, side, side)).gflops for name, make in CONTESTANTS.items()}
    times = milliseconds(CONTESTANTS, side, passes)
    return Outcome(
        [
            ["layer", "accuracy, %", "GFLOPs of a map", "ms, batch 4"],
            *([name, spread(scores[name]), f"{gflops[name]:.4f}", f"{times[name]:.1f}"] for name in CONTESTANTS),
        ],
        {
            "the accuracy of SVGA is not below that of ViG": not is_above(scores["ViG"], scores["SVGA"]),
            "SVGA needs less than half of the operations": gflops["SVGA"] < gflops["ViG"] / 2,
            "SVGA takes less time": times["SVGA"] < times["ViG"],
        },
    )


@torch.no_grad()
def milliseconds(contestants: dict[str, LayerFactory], side: int, passes: int) -> dict[str, float]:
    """Return median milliseconds of processor time of interleaved passes, after one warm-up pass."""
    x = torch.randn(4, 64, side, side)
    layers = {name: make(64, 64).eval() for name, make in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(passes + 1):
        for name, layer in layers.items():
            start = time.process_time()
            layer(x)
            times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(found[1:]) for name, found in times.items()}
