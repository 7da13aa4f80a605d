"""Adaptive neighbourhoods: every position chooses the number of its neighbours."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from convnn.nn import AdaptiveNeighborhoods2d
from convnn.ops import Neighbors

SYSTEM = "Adaptive neighbourhoods"
CLAIM = "A learned number of the best neighbours for each node does better than a fixed neighbourhood."
EXPERIMENT = (
    "Noisy maps of 12 x 12 positions and 4 channels, of two regions with a straight border; the target is the map"
    " without noise: mean squared error x 1000 on new maps after 200 steps of one layer with a window of 5 x 5 and"
    " edges ranked by an MLP. Adaptive; the whole window, weighted by the ranking; and the whole window, unweighted."
)
SEEDS = (0, 1, 2)
RANKING = {"kernel_size": 5, "edge_type": "pair", "latent_channels": 16}  # as published, narrower


class Everybody(nn.Module):
    def forward(self, rows: Tensor, *_: object) -> Tensor:
        return rows.new_full(rows.shape[:2], 1e3)


class Unweighted(AdaptiveNeighborhoods2d):
    def _neighbors(self, field) -> Neighbors:
        found = super()._neighbors(field)
        return found._replace(scores=torch.ones_like(found.scores))


def ranked(*sizes: int, **settings: object) -> AdaptiveNeighborhoods2d:
    layer = AdaptiveNeighborhoods2d(*sizes, **settings)
    layer.degree = Everybody()
    return layer


CONTESTANTS = {"adaptive": AdaptiveNeighborhoods2d, "all, by the ranking": ranked, "all, unweighted": Unweighted}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 200
    runs = {name: [trial(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    errors = {name: [-error for error, _ in found] for name, found in runs.items()}
    degrees = [degree for _, degree in runs["adaptive"]]
    ours, by_ranking, unweighted = errors.values()
    return Outcome(
        [
            ["neighbours", "squared error, x 1000"],
            *([name, spread([-one for one in found], ".2f")] for name, found in errors.items()),
            ["learned number, of 25", spread([degree.mean().item() for degree in degrees])],
            ["its deviation between positions", spread([degree.std().item() for degree in degrees], ".2f")],
        ],
        {
            "adaptive is better than the unweighted window": is_above(ours, unweighted),
            "and than the window weighted by the ranking": is_above(ours, by_ranking),
            "the learned number varies between positions by more than 1": min(d.std().item() for d in degrees) > 1,
        },
    )


def trial(make, seed: int, steps: int) -> tuple[float, Tensor]:
    network = fit(lambda: make(4, 4, **RANKING), *regions(256, seed), seed=seed, steps=steps, loss=F.mse_loss)
    noisy, clean = regions(64, 1000 + seed)
    wished: list[Tensor] = []
    network.degree.register_forward_hook(lambda module, given, wish: wished.append(wish))
    with torch.no_grad():
        return 1000 * F.mse_loss(network(noisy), clean).item(), wished[0]


def regions(number: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    down, right = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 12), indexing="ij")
    angle, shift = torch.rand(2, number, 1, 1, 1, generator=generator)
    side = (6.3 * angle).cos() * down + (6.3 * angle).sin() * right > shift - 0.5
    colours = torch.randn(2, number, 4, 1, 1, generator=generator)
    clean = torch.where(side, colours[0], colours[1])
    return clean + 0.5 * torch.randn(clean.shape, generator=generator), clean
