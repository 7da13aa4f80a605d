"""GMCN: networks of mixtures of Gaussians, with exact convolutions and a fitted ReLU."""

from functools import partial
from statistics import mean

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._learn import accuracy, fit
from convnn.data.solids import make_solids
from convnn.models import MixtureNet
from convnn.ops.mixtures import fit_images, fit_points

SYSTEM = "GMCN: convolution of mixtures"
CLAIM = (
    "Networks of exact convolutions of mixtures with a fitted ReLU classify images and solids given as mixtures; the"
    " fit is necessary, and the accuracy is competitive with that on pixels."
)
EXPERIMENT = (
    "scikit-learn's digits 0 to 3 as 8 Gaussians each; spheres, cubes, tori and cylinders, stretched and turned, as 12:"
    " 400 and 300 of both, by EM. Layers of 8 and 4 channels, kernels of 5 Gaussians and radius 2.5, 8 and 4 Gaussians"
    " after them, 280 steps of AdamW on batches of 20. Test accuracy; chance is about 25 %. Regressions are logistic."
)
SEEDS, TRAIN, TEST = (0, 1, 2), 400, 300
FITTED, WITHOUT, MIXTURES, PIXELS = "fitted ReLU", "no ReLU", "regression on mixtures", "regression on pixels"


def measure(seeds: list[int], quick: bool) -> Outcome:
    runs = [[of(seed, 2 if quick else 280) for seed in seeds] for of in (digits, solids)]
    found = [{row: [run[row] for run in one] for row in one[0]} for one in runs]
    means = [{row: mean(scores) for row, scores in rows.items()} for rows in found]
    cells = [[row, *(spread(rows[row]) if row in rows else "" for rows in found)] for row in found[0]]
    return Outcome(
        [["", "digits, %", "solids, %"], *cells],
        {
            "the fit is worth more than 20 points on both": all(one[FITTED] > one[WITHOUT] + 20 for one in means),
            "both are above regression on mixtures": all(one[FITTED] > one[MIXTURES] for one in means),
            "digits are within 5 of regression on pixels": means[0][FITTED] > means[0][PIXELS] - 5,
        },
    )


def digits(seed: int, steps: int) -> dict[str, float]:
    pixels, labels = (torch.from_numpy(one) for one in load_digits(n_class=4, return_X_y=True))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)[: TRAIN + TEST]
    pixels, labels = pixels[order].float(), labels[order]
    found = fit_images(pixels.view(-1, 1, 8, 8), 8, steps=min(20, steps), generator=generator)
    return compare(found.packed, labels, seed, steps) | {PIXELS: regression(pixels, labels)}


def solids(seed: int, steps: int) -> dict[str, float]:
    points, labels = make_solids(TRAIN + TEST, seed=seed)
    found = fit_points(points, 12, steps=min(20, steps), generator=torch.Generator().manual_seed(seed))
    return compare(found.packed, labels, seed, steps)


def compare(x: Tensor, labels: Tensor, seed: int, steps: int) -> dict[str, float]:
    found, dims = {MIXTURES: regression(x, labels)}, 2 if x.shape[-1] == 7 else 3
    for name in (WITHOUT, FITTED):
        make = partial(make_network, dims, name == FITTED)
        network = fit(make, x[:TRAIN], labels[:TRAIN], seed=seed, steps=steps, lr=5e-3, batch=20)
        found[name] = accuracy(network, x[TRAIN:], labels[TRAIN:])
    return found


def make_network(dims: int, has_relu: bool) -> nn.Module:
    network = MixtureNet(1, 4, dims=dims, widths=(8,), radii=2.5, components=(8, 4), norm="sample")
    for block in network.blocks:
        block.relu = block.relu if has_relu else nn.Identity()
    return network


def regression(x: Tensor, labels: Tensor) -> float:
    rows = x.flatten(1)
    rows = (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-6)
    return 100 * LogisticRegression(max_iter=1000).fit(rows[:TRAIN], labels[:TRAIN]).score(rows[TRAIN:], labels[TRAIN:])
