"""Vision GNN: the nearest positions by feature, anywhere on the map."""

from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import lookup_accuracy
from convnn.nn import NonLocal2d, ViG2d

SYSTEM = "Vision GNN"
CLAIM = "Joined to its nearest neighbours by feature, a position reads related positions at any distance and shape."
EXPERIMENT = (
    "Maps of 8 x 8 positions in eight scattered groups; one member of each carries the answer of all, and every"
    " position must tell it: accuracy in percent on new maps after 300 steps, chance 50. One layer of 32 channels,"
    " or three, and two 1x1 convolutions behind it; K = 8 is the size of a group."
)
SEEDS = (0, 1, 2)


def convolutions(width: int, depth: int, size: int = 3) -> list[nn.Module]:
    later = [part for _ in range(depth - 1) for part in (nn.GELU(), nn.Conv2d(width, width, size, padding=size // 2))]
    return [nn.Conv2d(9, width, size, padding=size // 2), *later]


CONTESTANTS = {
    "ViG, K = 8": lambda width: [ViG2d(9, width, K=8)],
    "ViG, K = 2": lambda width: [ViG2d(9, width, K=2)],
    "NonLocal": lambda width: [NonLocal2d(9, width)],
    "Conv2d 3 x 3": lambda width: convolutions(width, 1),
    "three Conv2d 5 x 5": lambda width: convolutions(width, 3, 5),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    scores = {name: [lookup_accuracy(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    ours = scores["ViG, K = 8"]
    return Outcome(
        [["layers", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "ViG with the neighbours it needs is right at 95 % of the positions": min(ours) > 95,
            "it is above a convolution, and above three that see the whole map": all(
                is_above(ours, scores[name]) for name in ("Conv2d 3 x 3", "three Conv2d 5 x 5")
            ),
            "with K = 2 it is not as good": is_above(ours, scores["ViG, K = 2"]),
        },
    )
