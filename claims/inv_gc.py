"""InvGC: embeddings in narrow cones are spread out, and the right ones are found more often."""

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from convnn.nn.graphs import InvGCRetrieval

SYSTEM = "InvGC: inverse convolution of embeddings"
CLAIM = (
    "Moving embeddings away from what resembles them raises the recall of retrieval; away from the nearest alone, it"
    " also lowers the similarity of close ones."
)
EXPERIMENT = (
    "400 pairs of a gallery item and its query, 32 numbers of length 1 in two cones of their own, with noise, and banks"
    " of 1000 pairs: share of the queries, in percent, whose item is the most similar, and mean similarity of an item"
    " to the nearest other one; moved away from all of the banks, or from the nearest 10. Where both cones are one, the"
    " recall is reported, and not judged."
)
SEEDS = (0, 1, 2)
MOVED = {"as they were": None, "all, r = 1": {"r": 1.0}, "all, r = 2": {"r": 2.0}, "all, r = 4": {"r": 4.0}}
MOVED |= {"nearest, r = 0.5": {"r": 0.5, "K": 10}, "nearest, r = 0.8": {"r": 0.8, "K": 10}}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {}
    for name, settings in MOVED.items():
        apart = [retrieved(seed, settings, True) for seed in seeds]
        together = [retrieved(seed, settings, False)[0] for seed in seeds]
        found[name] = [*map(list, zip(*apart, strict=True)), together]
    rows = [[name, spread(recall), spread(near, ".3f"), spread(one)] for name, (recall, near, one) in found.items()]
    before, wide, close = (found[name] for name in ("as they were", "all, r = 2", "nearest, r = 0.8"))
    return Outcome(
        [["moved away from", "recall, %", "nearest other", "recall in one cone, %"], *rows],
        {
            "away from all, the recall is at least 30 points higher": is_above(wide[0], [r + 30 for r in before[0]]),
            "away from the nearest, at least 5 points": is_above(close[0], [r + 5 for r in before[0]]),
            "and the similarity of close items at least 0.05 lower": is_above([s - 0.05 for s in before[1]], close[1]),
        },
    )


def retrieved(seed: int, settings: dict | None, are_apart: bool) -> tuple[float, float]:
    """Return the recall in percent, and the mean similarity of an item to the nearest other one."""
    generator = torch.Generator().manual_seed(seed)
    cones = [F.normalize(torch.randn(32, generator=generator), dim=0) * 32**0.5 for _ in range(2)]
    if not are_apart:
        cones[1] = cones[0]
    gallery, queries = pairs(400, cones, generator)
    if settings is not None:
        r, K = settings["r"], settings.get("K")
        gallery = InvGCRetrieval(r, r, K=K).fit(*pairs(1000, cones, generator)).transform(gallery)
    right = (queries @ gallery.T).argmax(1) == torch.arange(400)
    others = (gallery @ gallery.T).fill_diagonal_(-1).amax(1)
    return 100 * right.double().mean().item(), others.mean().item()


def pairs(number: int, cones: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Return both embeddings (number, 32) of what the items of either kind have in common."""
    widths = torch.linspace(1, 0.3, 32)
    common = widths * torch.randn(number, 32, generator=generator)
    return [
        F.normalize(common + cone + 0.5 * widths * torch.randn(number, 32, generator=generator), dim=1)
        for cone in cones
    ]
