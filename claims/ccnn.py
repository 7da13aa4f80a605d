"""CCNN: one network for signals, images and volumes."""

from functools import partial

from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.nn import CCNNConv1d, CCNNConv2d, CCNNConv3d

SYSTEM = "CCNN: one layer for any axes"
CLAIM = "One network of continuous kernels reads signals, images and volumes, however long, without structural changes."
EXPERIMENT = (
    "scikit-learn's digits, read as signals of 64 samples, row by row, as images of 8 x 8, and as volumes of 4 x 4 x 4"
    " whose slices are quarters of the image: accuracy in percent of two residual blocks of 16 channels, each batch"
    " normalisation, CCNNConv with a kernel as long as the axes, omega_0 = 30, an initial Gaussian of width 0.3, and"
    " GELU, and the mean of all positions; and of the same with convolutions of 3 taps along each axis. 200 steps."
)
SEEDS = (0, 1, 2)
WIDTH = 16
LAYERS = {
    1: (CCNNConv1d, nn.Conv1d, nn.BatchNorm1d),
    2: (CCNNConv2d, nn.Conv2d, nn.BatchNorm2d),
    3: (CCNNConv3d, nn.Conv3d, nn.BatchNorm3d),
}
NAMES = {1: "signals of 64", 2: "images of 8 x 8", 3: "volumes of 4 x 4 x 4"}


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def network(axes: int, *, continuous: bool) -> nn.Module:
    ours, ordinary, norm = LAYERS[axes]

    def block() -> nn.Module:
        if continuous:
            layer = ours(WIDTH, WIDTH, horizon="same", omega_0=30.0, mask_init_value=0.3, l_max=8)
        else:
            layer = ordinary(WIDTH, WIDTH, 3, padding=1)
        return Residual(norm(WIDTH), layer, nn.GELU())

    return nn.Sequential(ordinary(1, WIDTH, 1), block(), block(), nn.Flatten(2), Mean(), nn.Linear(WIDTH, 10))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)


def folded(images: Tensor, axes: int) -> Tensor:
    """Return images (N, 1, 8, 8) as signals, images or volumes of their quarters."""
    if axes == 3:
        return images.unflatten(2, (2, 4)).unflatten(4, (2, 4)).permute(0, 1, 2, 4, 3, 5).reshape(-1, 1, 4, 4, 4)
    return images.flatten(2) if axes == 1 else images


def measure(seeds: list[int], quick: bool) -> Outcome:
    images, labels, test_images, test_labels = digits()
    scores: dict[int, dict[bool, list[float]]] = {axes: {True: [], False: []} for axes in LAYERS}
    for axes, found in scores.items():
        for continuous in found:
            for seed in seeds:
                make = partial(network, axes, continuous=continuous)
                trained = fit(make, folded(images, axes), labels, seed=seed, steps=3 if quick else 200)
                found[continuous].append(accuracy(trained, folded(test_images, axes), test_labels))
    rows = [[NAMES[axes], spread(found[True]), spread(found[False])] for axes, found in scores.items()]
    return Outcome(
        [["digits as", "CCNNConv, accuracy, %", "3 taps along each axis, %"], *rows],
        {
            "the same network is right for 85 % in every form": all(min(found[True]) > 85 for found in scores.values()),
            "it is above short kernels on signals": is_above(scores[1][True], scores[1][False]),
            "and on images": is_above(scores[2][True], scores[2][False]),
        },
    )
