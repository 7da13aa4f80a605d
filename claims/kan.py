"""KAN convolutions: learned functions of the channels against convolutions of as many parameters."""

from collections.abc import Callable

import torch
from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy, fit
from convnn.nn import KANConv2d

SYSTEM = "KAN convolutions: functions of the channels"
CLAIM = "A convolution of learned functions of the channels says more than an ordinary one with as many parameters."
EXPERIMENT = (
    "Accuracy in percent: two layers of 3 x 3 with batch normalisation and ReLU between 1x1 convolutions on"
    " scikit-learn's digits, 300 steps of 64 images: KANConv of 8 channels, Conv2d of as many, and Conv2d of 25"
    " channels, with more parameters than any of them. Misfit: the mean squared error of one layer of 3 x 3, 2 to 4"
    " channels, to the output of a sum of sines of the values of a window, on new maps of noise, 300 steps; the"
    " variance of the target is 1."
)
SEEDS = (0, 1, 2)
Layer = Callable[[int, int], nn.Module]
BASES = ("spline", "rbf", "chebyshev", "gram", "legendre", "relu", "wavelet")


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 300
    layers = {name: kan(name) for name in BASES[: 2 if quick else None]}
    accuracies = {name: [digits_accuracy(layer, seed, steps, 8) for seed in seeds] for name, layer in layers.items()}
    accuracies["Conv2d"] = [digits_accuracy(plain, seed, steps, 8) for seed in seeds]
    accuracies["Conv2d, 25 channels"] = [digits_accuracy(plain, seed, steps, 25) for seed in seeds]
    errors = {
        name: [misfit(layer, seed, steps) for seed in seeds] for name, layer in (layers | {"Conv2d": plain}).items()
    }
    numbers = {name: parameters(layer(8, 8)) for name, layer in (layers | {"Conv2d": plain}).items()}
    numbers["Conv2d, 25 channels"] = parameters(plain(25, 25))
    rows = [
        [name, f"{numbers[name]:,}", spread(found), spread(errors[name], ".3f") if name in errors else ""]
        for name, found in accuracies.items()
    ]
    more = accuracies["Conv2d, 25 channels"]
    best = max(layers, key=lambda name: sum(accuracies[name]))
    return Outcome(
        [["", "parameters of a layer", "accuracy, %", "misfit"], *rows],
        {
            "every KAN layer fits the sines better than a convolution": all(
                is_above(errors["Conv2d"], errors[name]) for name in layers
            ),
            "the best basis is more accurate than as many channels": is_above(accuracies[best], accuracies["Conv2d"]),
            "it is more accurate than as many parameters": is_above(accuracies[best], more),
        },
    )


def kan(basis: str) -> Layer:
    return lambda inputs, outputs: KANConv2d(inputs, outputs, basis=basis)


def plain(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def parameters(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def misfit(layer: Layer, seed: int, steps: int) -> float:
    """Return the mean squared error of a trained layer on new maps."""
    torch.manual_seed(1000 + seed)
    maps, weight, shift = torch.randn(768, 2, 8, 8), torch.randn(4, 2, 9), torch.randn(1, 2, 9, 1)
    windows = nn.functional.unfold(maps, 3, padding=1).unflatten(1, (2, 9))
    target = torch.einsum("ocn,bcnp->bop", weight, torch.sin(3 * windows + shift)).unflatten(2, (8, 8))
    target = (target - target.mean()) / target.std()
    mse = nn.functional.mse_loss
    network = fit(lambda: layer(2, 4), maps[:512], target[:512], seed=seed, steps=steps, loss=mse, lr=2e-2)
    with torch.no_grad():
        return mse(network(maps[512:]), target[512:]).item()
