"""Non-local blocks: all positions in one step."""

import torch

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, fit, lookup_network, marks
from convnn.nn import NonLocal2d, layer_factory

SYSTEM = "Non-local block"
CLAIM = (
    "One layer that weighs all positions captures dependencies at any distance; convolutions reach only as far as"
    " their windows."
)
EXPERIMENT = (
    "Maps of 12 x 12 positions of noise, one of them marked; every position must tell whether the value at the mark"
    " is above 0: accuracy in percent on new maps after 300 steps, chance 50, of all positions and of those"
    " more than two rows or columns away from the mark. One layer of 32 channels and two 1x1 convolutions."
)
SEEDS = (0, 1, 2)
CONTESTANTS = {
    "NonLocal": NonLocal2d,
    "Conv2d 3 x 3": layer_factory("Conv2d", kernel_size=3),
    "Conv2d 5 x 5": layer_factory("Conv2d", kernel_size=5),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    scores = {name: [accuracies(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    everywhere, far = ({name: [one[i] for one in found] for name, found in scores.items()} for i in (0, 1))
    return Outcome(
        [
            ["layer", "all positions, %", "far from the mark, %"],
            *([name, spread(everywhere[name]), spread(far[name])] for name in scores),
        ],
        {
            f"NonLocal is above {name} {where}": is_above(found["NonLocal"], found[name])
            for name in list(scores)[1:]
            for where, found in (("on all positions", everywhere), ("far from the mark", far))
        },
    )


def accuracies(make, seed: int, steps: int) -> tuple[float, float]:
    """Return the accuracies on all positions and on those far from the mark."""
    maps, answers, _ = marks(512, seed)
    network = fit(lambda: lookup_network([make(maps.shape[1], 32)]), maps, answers, seed=seed, steps=steps)
    maps, answers, far = marks(128, 1000 + seed)
    with torch.no_grad():
        right = (network(maps).argmax(1) == answers).double()
    return accuracy(network, maps, answers), 100 * right[far].mean().item()
