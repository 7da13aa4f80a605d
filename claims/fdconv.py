"""FDConv: kernels of mixed frequencies differ more, and cost few parameters."""

import torch
from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import CondConv2d, FDConv2d
from convnn.train import summarize

SYSTEM = "FDConv: mixed frequencies"
CLAIM = (
    "Kernels whose frequencies are mixed by the input do better than a convolution at few more parameters, where"
    " mixtures of whole kernels multiply them; and the groups mixed respond to different frequencies."
)
EXPERIMENT = (
    "Two layers of 16 channels, 3 x 3, between 1x1 convolutions on scikit-learn's digits: accuracy in percent after 300"
    " steps of 64 images. A convolution; CondConv of 4 experts; FDConv of 4 groups of frequencies. Parameters are those"
    " of one layer of 64 channels. Similarity: the mean absolute cosine between any two of the kernels that are mixed,"
    " of 16 channels, before training."
)
SEEDS = (0, 1, 2)
LAYERS = {
    "convolution": lambda i, o: nn.Conv2d(i, o, 3, padding=1),
    "CondConv": CondConv2d,
    "FDConv": lambda i, o: FDConv2d(i, o, plain_up_to=0),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    found = {name: [digits_accuracy(layer, seed, steps) for seed in seeds] for name, layer in LAYERS.items()}
    sizes = {name: summarize(layer(64, 64), (64, 8, 8)).parameters for name, layer in LAYERS.items()}
    torch.manual_seed(0)
    alike = {"CondConv": similarity(CondConv2d(16, 16).weight), "FDConv": similarity(groups())}
    return Outcome(
        [
            ["layer", "accuracy, %", "parameters", "similarity"],
            *(
                [name, spread(scores), f"{sizes[name]:,}", f"{alike[name]:.1e}" if name in alike else ""]
                for name, scores in found.items()
            ),
        ],
        {
            "FDConv is better than the convolution": is_above(found["FDConv"], found["convolution"]),
            "and at least as good as CondConv": not is_above(found["CondConv"], found["FDConv"]),
            "it has at most 1.3 times the parameters of the convolution": sizes["FDConv"] <= 1.3 * sizes["convolution"],
            "its kernels are orthogonal": alike["FDConv"] < 1e-5,
        },
    )


def groups() -> torch.Tensor:
    """Return the kernel of each group of frequencies alone."""
    layer = FDConv2d(16, 16, plain_up_to=0, frequency_groups=4, local_gate=None).double().eval()
    layer.take_kernel(torch.randn(16, 16, 3, 3).double(), None)
    assert layer.modulation is not None
    kernels = []
    for group in range(4):
        shares = torch.full((4,), -100.0)
        shares[group] = 100.0
        layer.modulation.shares.bias.data.copy_(shares)
        kernels.append(layer.kernels(torch.zeros(1, 16, 4, 4).double())[0])
    return torch.stack(kernels)


@torch.no_grad()
def similarity(kernels: torch.Tensor) -> float:
    """Return the mean absolute cosine between any two of several kernels."""
    rows = nn.functional.normalize(kernels.flatten(1), dim=1)
    cosines = (rows @ rows.T).abs()
    return cosines[~torch.eye(len(rows), dtype=torch.bool)].mean().item()
