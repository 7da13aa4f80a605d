"""ConvNN is a convolution if it chooses by place."""

import torch
from torch import nn

from claims._experiment import Outcome
from convnn.nn import ConvNN2d

SYSTEM = "ConvNN"
CLAIM = "Convolution is the special case of ConvNN in which the K = k k neighbours are chosen by place."
EXPERIMENT = (
    "ConvNN2d with the weights of a Conv2d, on random maps of odd and even sides, in float64: the largest difference"
    " of outputs, of gradients of the input and of the weights; chosen by content, the same weights must give"
    " something else."
)
SEEDS = (0, 1, 2)
BY_PLACE = {
    "Window": {"similarity_type": "Window"},
    "Loc": {"similarity_type": "Loc", "metric": "euclidean"},
    "Col": {"similarity_type": "Col"},
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    cases = [(k, size) for k in (1, 3, 5) for size in ((7, 7), (8, 12), (9, 4))][: 4 if quick else None]
    rows, largest = [["chosen by", "k", "output", "input gradient", "weight gradient"]], {}
    for name, search in BY_PLACE.items():
        for k in (1, 3, 5):
            found = [differences(k, size, seed, search) for one, size in cases if one == k for seed in seeds]
            if found:
                worst = [max(column) for column in zip(*found, strict=True)]
                largest[name, k] = worst
                rows.append([name, str(k), *(f"{one:.1e}" for one in worst)])
    place = [one for (name, _), worst in largest.items() if name != "Col" for one in worst]
    content = [worst[0] for (name, k), worst in largest.items() if name == "Col" and k > 1]
    return Outcome(
        rows,
        {
            "by place, outputs and gradients differ by less than 1e-12": max(place) < 1e-12,
            "by content, outputs of k > 1 differ by more than 0.1": min(content) > 0.1,
        },
    )


def differences(k: int, size: tuple[int, int], seed: int, search: dict[str, str]) -> list[float]:
    """Return the largest differences of ConvNN2d and Conv2d with the same weights."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 4, k, padding=k // 2, dtype=torch.float64)
    ours = ConvNN2d(3, 4, K=k * k, padding=k // 2, **search, dtype=torch.float64)
    ours.weight.data, ours.bias.data = conv.weight.detach().flatten(2), conv.bias.detach()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    found = []
    for layer in (ours, conv):
        image = x.clone().requires_grad_()
        out = layer(image)
        out.square().sum().backward()
        found.append((out.detach(), image.grad, layer.weight.grad.flatten(2)))
    return [(one - other).abs().max().item() for one, other in zip(*found, strict=True)]
