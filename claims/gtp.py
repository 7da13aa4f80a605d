"""GTP: tokens that leave pass on their features, in a trained ViT that is not trained again."""

import copy
from statistics import mean

from torch import nn

from claims._experiment import Outcome, spread
from claims._learn import accuracy, digits, fit
from convnn.models import create_model
from convnn.nn import reduce_tokens

SYSTEM = "GTP: propagation of tokens"
CLAIM = (
    "A trained ViT with fewer and fewer tokens computes a quarter less at 0.3 points, without training, if those that"
    " leave pass on their features; that is better than merging tokens."
)
EXPERIMENT = (
    "A ViT of 6 blocks of width 48 and 4 heads on scikit-learn's digits, 64 patches of one pixel, trained for 150"
    " steps; then 4, 8 or 10 patches leave in each block, without training: test accuracy where they are dropped,"
    " replaced by their mean, or pass on to the 8 around and 4 alike, and multiply-adds as a share of the ViT's."
)
SEEDS = (0, 1, 2)
LEAVING = (4, 8, 10)
REDUCERS = {
    "drop": ("drop", {}),
    "mean": ("mean", {}),
    "gtp, alpha 0.1": ("gtp", {"K": 4, "alpha": 0.1, "scales": False}),
    "gtp, alpha 0.3": ("gtp", {"K": 4, "alpha": 0.3, "scales": False}),
    "gtp, alpha 0.2, scales": ("gtp", {"K": 4, "alpha": 0.2}),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    images, labels, *test = digits()
    networks = [fit(vit, images, labels, seed=seed, steps=3 if quick else 150) for seed in seeds]
    base = [accuracy(network, *test) for network in networks]
    found, costs = {}, {}
    for leaving in LEAVING:
        for name in REDUCERS:
            reduced = [fewer(network, name, leaving) for network in networks]
            found[leaving, name], blocks = [accuracy(network, *test) for network in reduced], reduced[0].blocks
            costs[leaving, name] = 100 * work(blocks.leaving(64), blocks.reducer.adds) / work([0] * 6)
    gtp = [key for key in found if key[1].startswith("gtp")]
    gains = [mean(found[key]) - mean(found[key[0], "drop"]) for key in gtp]
    small = found[LEAVING[0], "gtp, alpha 0.3"]
    return Outcome(
        [["leave in each block", "how", "accuracy, %", "multiply-adds, %"]]
        + [["none", "", spread(base), "100"]]
        + [[str(key[0]), key[1], spread(found[key]), f"{costs[key]:.0f}"] for key in found],
        {
            "passing on is better than dropping in most of the nine cases": sum(gain > 0 for gain in gains) >= 5,
            "and on average": mean(gains) > 0,
            "with 4 leaving in each block it computes at most four fifths": costs[4, "gtp, alpha 0.3"] <= 80,
            "at a cost of at most 0.3 points": mean(base) - mean(small) <= 0.3,
        },
    )


def vit() -> nn.Module:
    sizes = {"num_layers": 6, "num_heads": 4, "d_hidden": 48, "d_mlp": 96, "patch_size": 1, "dropout": 0.0}
    return create_model("vit", in_channels=1, **sizes)


def fewer(network: nn.Module, name: str, leaving: int) -> nn.Module:
    reducer, settings = REDUCERS[name]
    reduced = copy.deepcopy(network)
    reduce_tokens(reduced, reducer, num_prop=leaving, **settings)
    return reduced


def work(leaving: list[int], adds: int = 0) -> int:
    """Return the multiply-adds of the blocks; what is passed on is below a hundredth of them."""
    tokens, total = 65, 0
    for number in leaving:
        total += 4 * tokens * 48**2 + 2 * tokens**2 * 48
        tokens -= number and number - adds
        total += 2 * tokens * 48 * 96
    return total
