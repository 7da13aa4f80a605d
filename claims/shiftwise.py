"""ShiftwiseConv: a large kernel of shifted small ones."""

import torch
from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from claims.recconv import reach
from convnn.nn import ConvMaker, ShiftedSum2d, ShiftWise2d, merge

SYSTEM = "ShiftwiseConv: shifted small kernels"
CLAIM = (
    "Small kernels, shifted and added, see as far as a large one: no less accurate, with fewer parameters, and at"
    " inference one wide and one tall band."
)
EXPERIMENT = (
    "ShiftWise with M = 13 and small kernels of 3 x 3, and depthwise convolutions of 13 x 13, each before a 1x1"
    " convolution. Accuracy in percent: two of them of 16 channels between 1x1 convolutions on scikit-learn's digits,"
    " 200 steps of 64 images. Reach: the rows that the middle of a map depends on. Parameters of the kernels of 64"
    " channels, and the largest difference of the merged ones in float64. Its training, which prunes small kernels, is"
    " left out."
)
SEEDS = (0, 1, 2)
LAYERS = {
    "shifted 3 x 3": lambda i, o: ShiftWise2d(i, o, big_kernel=13),
    "13 x 13": lambda i, o: nn.Sequential(ConvMaker(2).depthwise(i, 13), nn.Conv2d(i, o, 1)),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 200
    scores = {name: [digits_accuracy(make, seed, steps) for seed in seeds] for name, make in LAYERS.items()}
    shifted, large = LAYERS
    rows = reach(ShiftedSum2d(1, big_kernel=13).eval())
    kernels = {shifted: ShiftedSum2d(64, ghosts=16, big_kernel=13), large: ConvMaker(2).depthwise(64, 13)}
    counts = {name: sum(p.numel() for p in kernel.parameters()) for name, kernel in kernels.items()}
    exact = ShiftedSum2d(8, ghosts=2, big_kernel=13).double().eval()
    x = torch.randn(1, 8, 17, 15, dtype=torch.double)
    difference = (merge(exact).model(x) - exact(x)).abs().max().item()
    return Outcome(
        [
            ["kernels", "accuracy, %", "rows", "parameters"],
            [shifted, spread(scores[shifted]), str(rows), f"{counts[shifted]:,}"],
            [large, spread(scores[large]), "13", f"{counts[large]:,}"],
        ],
        {
            "it reaches 13 rows": rows >= 13,
            "the accuracy is not below that of the large kernel": not is_above(scores[large], scores[shifted]),
            "it has fewer parameters": counts[shifted] < counts[large],
            "merged and trained form agree to 1e-12": difference < 1e-12,
        },
    )
