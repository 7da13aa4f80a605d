"""CKConv: a network trained at one sampling rate reads another without new weights."""

from functools import partial

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.nn import CKConv1d, set_rate

SYSTEM = "CKConv: continuous kernel"
CLAIM = "Because its kernel is a function, a network keeps its accuracy at another sampling rate than that of training."
EXPERIMENT = (
    "scikit-learn's digits, 8 x 8, read row by row and sampled again at four times the rate by linear interpolation,"
    " 253 samples. Two causal layers of 16 channels, each with normalisation over channels and positions, ReLU and"
    " the mean over positions. CKConv has a kernel as long as the signal, omega_0 = 20; the other layer is Conv1d with"
    " 13 taps. 600 steps of AdamW. Test at the rate of training and, from every second sample, at half of it: CKConv"
    " with set_rate(network, 0.5), Conv1d as it is. Then CKConv with omega_0 = 10 on the 64 pixels as they are, with"
    " every second pixel, or the mean of two, at half the rate."
)
SEEDS = (0, 1, 2)
WIDTH = 16
SECOND, MEANS = "CKConv, every second pixel", "CKConv, means of two pixels"


def rows(images: Tensor) -> Tensor:
    """Return the pixels of images row by row, with three samples between two of them."""
    pixels = images.flatten(2)
    return nn.functional.interpolate(pixels, 4 * pixels.shape[-1] - 3, mode="linear", align_corners=True)


def network(kind: str, omega_0: float = 20.0) -> nn.Module:
    parts: list[nn.Module] = []
    for inputs in (1, WIDTH):
        if kind == "CKConv":
            parts.append(CKConv1d(inputs, WIDTH, horizon="same", causal=True, omega_0=omega_0, weight_norm=True))
        else:
            parts += [nn.ConstantPad1d((12, 0), 0.0), nn.Conv1d(inputs, WIDTH, 13)]
        parts += [nn.GroupNorm(1, WIDTH), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(WIDTH, 10))


def measure(seeds: list[int], quick: bool) -> Outcome:
    images, labels, test_images, test_labels = digits()
    signals, test = rows(images), rows(test_images)
    full: dict[str, list[float]] = {"CKConv": [], "Conv1d": [], SECOND: [], MEANS: []}
    half: dict[str, list[float]] = {name: [] for name in full}
    for kind in ("CKConv", "Conv1d"):
        for seed in seeds:
            trained = fit(partial(network, kind), signals, labels, seed=seed, steps=3 if quick else 600)
            full[kind].append(accuracy(trained, test, test_labels))
            if kind == "CKConv":
                set_rate(trained, 0.5)
            half[kind].append(accuracy(trained, test[..., ::2], test_labels))
    pixels = test_images.flatten(2)
    for seed in seeds:
        coarse = partial(network, "CKConv", omega_0=10.0)
        trained = fit(coarse, images.flatten(2), labels, seed=seed, steps=3 if quick else 600)
        before = accuracy(trained, pixels, test_labels)
        set_rate(trained, 0.5)
        for name, halved in ((SECOND, pixels[..., ::2]), (MEANS, nn.functional.avg_pool1d(pixels, 2))):
            full[name].append(before)
            half[name].append(accuracy(trained, halved, test_labels))
    lost = {kind: torch.tensor(full[kind]).sub(torch.tensor(half[kind])).tolist() for kind in full}
    table = [[kind, spread(full[kind]), spread(half[kind]), spread(lost[kind])] for kind in full]
    return Outcome(
        [["layer", "accuracy, %", "at half the rate, %", "points lost"], *table],
        {
            "CKConv loses at most three points at half the rate": max(lost["CKConv"]) <= 3,
            "so it does on average with means of two pixels": sum(lost[MEANS]) <= 3 * len(seeds),
            "with every second pixel it loses more": is_above(lost[SECOND], lost[MEANS]),
            "Conv1d loses more": is_above(lost["Conv1d"], lost["CKConv"]),
            "at the rate of training, CKConv is at most three points below Conv1d": all(
                ours >= theirs - 3 for ours, theirs in zip(full["CKConv"], full["Conv1d"], strict=True)
            ),
        },
    )
