"""Vision-RWKV: every token sees all others at a cost that grows with their number, not its square."""

from statistics import mean, median
from time import process_time

import torch
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.models import create_model
from convnn.ops import scan

SYSTEM = "Vision-RWKV"
CLAIM = "Bidirectional WKV is global at linear cost: faster than attention at high resolution, and no less accurate."
EXPERIMENT = (
    "Forward pass in float32 on 64 channels, in milliseconds, beside scaled_dot_product_attention with one head of"
    " width 64, at T tokens; and scikit-learn's digits in patches of 2 pixels, two blocks of width 48, 200 steps of 64"
    " images: accuracy in percent of Vision-RWKV, and of the same network with attention. ImageNet is out of reach."
)
SEEDS = (0, 1, 2)
LENGTHS = (256, 1024, 4096, 16384)
SIZES = {"patch_size": 2, "num_layers": 2, "d_hidden": 48, "num_heads": 3, "in_channels": 1, "image_size": 8}


def measure(seeds: list[int], quick: bool) -> Outcome:
    lengths, steps = (LENGTHS[:2], 2) if quick else (LENGTHS, 200)
    times = [{length: measured(length, seed) for length in lengths} for seed in seeds]
    ours, dense = ({length: [one[length][i] for one in times] for length in lengths} for i in range(2))
    images, labels, test_images, test_labels = digits()
    scores = {
        layer: [
            accuracy(fit(lambda layer=layer: create_model("vrwkv", layer, **SIZES), images, labels, seed=seed,
                         steps=steps, lr=2e-3), test_images, test_labels)
            for seed in seeds
        ]
        for layer in ("VRWKV", "Attention")
    }  # fmt: skip
    growth = mean(ours[lengths[-1]]) / mean(ours[lengths[0]]) / (lengths[-1] / lengths[0])
    return Outcome(
        [
            ["", "Bi-WKV", "attention"],
            *([f"T = {length:,}, ms", spread(ours[length], ".2f"), spread(dense[length], ".2f")] for length in lengths),
            ["digits, %", *(spread(scores[layer]) for layer in scores)],
        ],
        {
            "64 times as many tokens take at most 128 times as long": growth < 2,
            "it is faster than attention from 1,024 tokens on": all(
                mean(ours[length]) < mean(dense[length]) for length in lengths if length >= 1024
            ),
            "the accuracy is not below that of attention": not is_above(scores["Attention"], scores["VRWKV"]),
        },
    )


@torch.no_grad()
def measured(length: int, seed: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(1, length, 64, generator=generator) for _ in range(3))
    decay, first = torch.linspace(-5, 3, 64) / length, torch.zeros(64)
    return (
        milliseconds(scan.bi_wkv, key, value, decay, first),
        milliseconds(F.scaled_dot_product_attention, *(one.unsqueeze(1) for one in (query, key, value))),
    )


def milliseconds(function, *arguments) -> float:
    times = [(process_time(), function(*arguments), process_time()) for _ in range(5)]
    return 1000 * median(end - start for start, _, end in times)
