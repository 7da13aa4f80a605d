"""GreedyViG: the similar positions of the same row and column."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from convnn.nn import DAGC2d, MGC2d, SVGA2d

SYSTEM = "GreedyViG: DAGC"
CLAIM = "Keeping only the similar positions of the same row and column beats a fixed graph, and compares few pairs."
EXPERIMENT = (
    "Maps of 12 x 12 positions of four kinds; the target of a position is the largest value of its kind in its row and"
    " column: mean squared error, times 1000, on new maps after 300 steps of one layer of 32 channels and two 1x1"
    " convolutions, without encoding. DAGC with step 1, the same layer without exclusion, SVGA, and MGC."
)
SEEDS = (0, 1, 2)


class KeepsAll(DAGC2d):
    def is_far(self, field, shifts) -> None:
        return None


CONTESTANTS = {"DAGC": DAGC2d, "DAGC that keeps all": KeepsAll, "SVGA": SVGA2d, "MGC": MGC2d}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    errors = {name: [-error(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    right, kept = zip(*[chosen(seed) for seed in seeds], strict=True)
    pairs, everybody = 12 * 12 * (11 + 11 + 1), (12 * 12) ** 2
    return Outcome(
        [
            ["layer", "squared error, x 1000"],
            *([name, spread([-one for one in found], ".2f")] for name, found in errors.items()),
            ["neighbours of DAGC of the same kind, %", spread(right)],
            ["positions of the same kind that DAGC keeps, %", spread(kept)],
            ["pairs of a map that DAGC compares", f"{pairs} of {everybody}"],
        ],
        {
            "DAGC is better than without exclusion": is_above(errors["DAGC"], errors["DAGC that keeps all"]),
            "and than SVGA and MGC": all(is_above(errors["DAGC"], errors[name]) for name in ("SVGA", "MGC")),
            "95 % of its neighbours are of the same kind": min(right) > 95,
        },
    )


def kinds(number: int, seed: int, side: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Make maps (N, 5, side, side) of codes and a value from 0 to 1, targets, and the kind of each position."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(4, (number, side, side), generator=generator)
    value = torch.rand(number, side, side, generator=generator)
    values = torch.where(F.one_hot(kind, 4).bool(), value.unsqueeze(-1), 0)
    largest = torch.maximum(values.amax(1, keepdim=True), values.amax(2, keepdim=True)).expand_as(values)
    targets = largest.gather(3, kind.unsqueeze(-1)).permute(0, 3, 1, 2)
    return torch.cat([2 * F.one_hot(kind, 4).permute(0, 3, 1, 2), value.unsqueeze(1)], 1), targets, kind


def error(make, seed: int, steps: int) -> float:
    def network() -> nn.Module:
        layer = make(5, 32, step=1, positional_size=0)
        return nn.Sequential(layer, nn.GELU(), nn.Conv2d(32, 32, 1), nn.GELU(), nn.Conv2d(32, 1, 1))

    maps, targets, _ = kinds(512, seed)
    learned = fit(network, maps, targets, seed=seed, steps=steps, loss=F.mse_loss)
    maps, targets, _ = kinds(128, 1000 + seed)
    with torch.no_grad():
        return 1000 * F.mse_loss(learned(maps), targets).item()


def chosen(seed: int) -> tuple[float, float]:
    """Return precision and recall, in percent, of the neighbours that DAGC keeps for positions of the same kind."""
    maps, _, kind = kinds(16, seed)
    found = DAGC2d(5, 1, step=1, positional_size=0).neighbors(maps)
    same = kind.flatten(1).gather(1, found.indices.flatten(1)).view_as(found.indices) == kind.flatten(1).unsqueeze(-1)
    same, kept = same[..., 1:], ~found.absent[..., 1:]
    both = (same & kept).sum().item()
    return 100 * both / kept.sum().item(), 100 * both / same.sum().item()
