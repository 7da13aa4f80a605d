"""LSKNet: every position selects the kernel that it needs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, fit, lookup_network
from convnn.nn import LSK2d

SYSTEM = "LSKNet: selected kernels"
CLAIM = "Objects need surroundings of different extent; every position selects the kernel that it needs."
EXPERIMENT = (
    "Maps of 16 x 16 positions of noise, of which half are marked, in blocks of 4 x 4: a marked position must tell"
    " the sign of the mean over 15 x 15 positions around it, another of that over 3 x 3. Accuracy in percent on new"
    " maps after 200 steps, chance 50: one LSK layer of 16 channels, and two 1x1 convolutions; the same with equal"
    " shares everywhere; and how far the selected share of the large kernel lies higher at marked positions."
)
SEEDS = (0, 1, 2)
WIDTH = 16


class Equal(nn.Module):
    """A selection that is none: half of each kernel at every position."""

    def forward(self, _: Tensor) -> tuple[float, float]:
        return 0.5, 0.5


def scales(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make maps of values and marks, (N, 2, 16, 16), and the signs of their means, (N, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(number, 1, 16, 16, generator=generator)
    marks = F.interpolate((torch.rand(number, 1, 4, 4, generator=generator) > 0.5).float(), scale_factor=4.0)
    near, far = (F.avg_pool2d(values, side, 1, side // 2) for side in (3, 15))
    return torch.cat([values, marks], 1), (torch.where(marks > 0, far, near) > 0).long().squeeze(1)


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, scores, shares = 3 if quick else 200, {"selected": [], "equal": []}, []
    for seed in seeds:
        for name, found in scores.items():
            network = fit(lambda name=name: made(name), *scales(512, seed), seed=seed, steps=steps)
            maps, answers = scales(128, 1000 + seed)
            found.append(accuracy(network, maps, answers))
            if name == "selected":
                shares.append(100 * difference(network, maps))
    return Outcome(
        [
            ["shares", "accuracy, %", "more of the large kernel at marks, % of it"],
            ["selected", spread(scores["selected"]), spread(shares)],
            ["equal", spread(scores["equal"]), "0.0"],
        ],
        {
            "selection raises the accuracy": is_above(scores["selected"], scores["equal"]),
            "marked positions select more of the large kernel": is_above(shares, [0.0] * len(shares)),
        },
    )


def made(name: str) -> nn.Module:
    layer = LSK2d(2, WIDTH)
    if name == "equal":
        layer.gated.operator.select = Equal()
    return lookup_network([layer], width=WIDTH)


@torch.no_grad()
def difference(network: nn.Module, maps: Tensor) -> float:
    """Return how much larger the share of the large kernel, of both, is at marked positions."""
    seen: list[Tensor] = []
    network[0].gated.operator.select.register_forward_hook(lambda _, __, shares: seen.append(shares[1]))
    network(maps)
    far, marked = seen[0].flatten(), maps[:, 1].flatten() > 0
    return (far[marked].mean() - far[~marked].mean()).item()
