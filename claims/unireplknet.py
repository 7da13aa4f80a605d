"""UniRepLKNet: dilated small kernels beside the large one."""

import torch

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import RepLK2d, UniRepLK2d, merge

SYSTEM = "UniRepLKNet: dilated branches"
CLAIM = (
    "Dilated small kernels beside a large one help to train it, more than one small kernel does, and cost nothing at"
    " inference."
)
EXPERIMENT = (
    "Accuracy in percent: two layers of 16 channels with kernels of 13 x 13 between 1x1 convolutions on scikit-"
    " learn's digits, 200 steps of 64 images. Trained with five dilated kernels, with one 5 x 5 kernel, and alone."
    " Parameters of one layer of 64 channels, and the largest difference of the merged one in float64."
)
SEEDS = (0, 1, 2)
FORMS = {
    "dilated kernels": lambda i, o: UniRepLK2d(i, o, kernel_size=13),
    "one small kernel": lambda i, o: RepLK2d(i, o, kernel_size=13),
    "alone": lambda i, o: RepLK2d(i, o, kernel_size=13, small_kernel=0),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 200
    scores = {name: [digits_accuracy(make, seed, steps) for seed in seeds] for name, make in FORMS.items()}
    trained, merged = ({name: count(make, is_merged) for name, make in FORMS.items()} for is_merged in (False, True))
    layer = UniRepLK2d(8, 8, kernel_size=13).double().eval()
    x = torch.randn(1, 8, 16, 16, dtype=torch.double)
    difference = (merge(layer).model(x) - layer(x)).abs().max().item()
    dilated, small, alone = FORMS
    return Outcome(
        [
            ["beside the large kernel", "accuracy, %", "parameters", "merged"],
            *([name, spread(scores[name]), f"{trained[name]:,}", f"{merged[name]:,}"] for name in FORMS),
        ],
        {
            "dilated kernels are above none": is_above(scores[dilated], scores[alone]),
            "dilated kernels are above one small kernel": is_above(scores[dilated], scores[small]),
            "merged, all have the same parameters": len(set(merged.values())) == 1,
            "merged and trained form agree to 1e-12": difference < 1e-12,
        },
    )


def count(make, is_merged: bool) -> int:
    """Return the parameters of a layer."""
    layer = make(64, 64).eval()
    return sum(p.numel() for p in (merge(layer).model if is_merged else layer).parameters())
