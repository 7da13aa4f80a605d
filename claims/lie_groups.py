"""Lie groups: a kernel moved by sampled linear maps is nearly equivariant to them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.nn import LieConv2d
from convnn.nn.lie_groups.decomposition import draw

SYSTEM = "Lie groups: kernels moved by linear maps"
CLAIM = (
    "Kernels moved by sampled elements of SL(2, R) make a layer equivariant to its maps up to an error that falls with"
    " the number of elements, so that a network recognises turned and sheared objects without having seen any."
)
EXPERIMENT = (
    "Error: the length of f(T x) - T f(x) as a share of that of T f(x) around its mean, in the middle of 16 digits of"
    " scikit-learn enlarged to 33 x 33, for a random T of SL(2, R), variance 0.1, of an untrained layer of 9 x 9, 1 to"
    " 16 channels. Accuracy: two layers of 5 x 5 with 16 channels and a mean, on digits on 16 x 16 maps, 300 steps of"
    " 64 images; tested on upright digits and on digits moved by random T. Chance is 10 %."
)
SEEDS = (0, 1, 2)


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 300
    layers = {f"LieConv, {n} elements": n for n in (5, 20, 80)} | {"Conv2d": 0}
    errors = {name: [error(make(1, 16, n, 9), seed) for seed in seeds] for name, n in layers.items()}
    accuracies = {n: list(zip(*(accuracies_of(n, seed, steps) for seed in seeds), strict=True)) for n in (20, 0)}
    rows = []
    for name, n in layers.items():
        tested = accuracies.get(n, [(), ()])
        rows.append([name, spread(errors[name], ".3f"), *(spread(one) if one else "" for one in tested)])
    few, _, many, plain = errors.values()
    return Outcome(
        [["", "error", "upright, %", "moved, %"], *rows],
        {
            "the error is below a convolution's": is_above(plain, many),
            "it falls with the number of elements": is_above(few, many),
            "moved digits are recognised more often": is_above(accuracies[20][1], accuracies[0][1]),
        },
    )


def make(inputs: int, outputs: int, number: int, side: int) -> nn.Module:
    if not number:
        return nn.Conv2d(inputs, outputs, side, padding="same")
    return LieConv2d(inputs, outputs, kernel_size=side, num_gsamples=number)


def moved(x: Tensor, g: Tensor) -> Tensor:
    grid = F.affine_grid(F.pad(torch.linalg.inv(g), (0, 1)), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


@torch.no_grad()
def error(layer: nn.Module, seed: int) -> float:
    torch.manual_seed(100 + seed)
    images = digits()[2][16 * seed :][:16]
    x = F.pad(F.interpolate(images - images.min(), (21, 21), mode="bilinear"), [6] * 4)
    g = draw(16, "sl2", rotations="uniform").g
    found, expected = (one[..., 8:25, 8:25] for one in (layer.eval()(moved(x, g)), moved(layer(x), g)))
    return ((found - expected).norm() / (expected - expected.mean((0, 2, 3), keepdim=True)).norm()).item()


def accuracies_of(number: int, seed: int, steps: int) -> tuple[float, float]:
    images, labels, test, test_labels = digits()
    low = images.min()

    def enlarged(x: Tensor) -> Tensor:
        return F.pad(F.interpolate(x - low, (12, 12), mode="bilinear"), [2] * 4)

    def network() -> nn.Module:
        first, second = ([make(i, 16, number, 5), nn.BatchNorm2d(16), nn.ReLU()] for i in (1, 16))
        return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

    trained = fit(network, enlarged(images), labels, seed=seed, steps=steps)
    upright, g = enlarged(test), draw(len(test), "sl2", rotations="uniform").g
    return accuracy(trained, upright, test_labels), accuracy(trained, moved(upright, g), test_labels)
