"""GKT: small windows around projected points, where cameras deviate from their calibration."""

from statistics import mean

import torch

from claims._experiment import Outcome, spread
from convnn.tasks.segment.birds_eye import MAP, BirdsEyeNetwork, evaluate, make_scenes, surround_rig, train

SYSTEM = "GKT: projected windows"
CLAIM = (
    "A window around the projection of a cell needs a fraction of the keys of attention to all positions, is looked up"
    " in a table for a fixed rig, and tolerates cameras that deviate from their calibration."
)
EXPERIMENT = (
    "Four cameras see 6 random discs on a ground of 12 x 12 metres, with noise; intersection over union, in percent, of"
    " the ground seen from above (12 x 12 cells) on 32 new scenes, with cameras turned by normal angles of 0, 2 and 4"
    " degrees that the network is not told: windows of 1 x 1, 3 x 3 and 5 x 5 positions of maps of 12 x 20, trained for"
    " 400 steps of 4 scenes with no deviation, and with one of 4 degrees. 16 channels, 2 heads."
)
SEEDS = (0, 1, 2)
KERNELS = ((1, 1), (3, 3), (5, 5))
ANGLES = (0.0, 2.0, 4.0)


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 400
    scores = {
        (kernel, deviation): [_scores(kernel, deviation, seed, steps) for seed in seeds]
        for deviation in (0.0, 4.0)
        for kernel in KERNELS
    }
    at_four = {key: [one[-1] for one in found] for key, found in scores.items()}
    small, window = at_four[(1, 1), 4.0], at_four[(3, 3), 4.0]
    lost = {kernel: 1 - mean(at_four[kernel, 0.0]) / mean(one[0] for one in scores[kernel, 0.0]) for kernel in KERNELS}
    return Outcome(
        [
            ["window", "trained at", *(f"IoU at {angle:.0f} degrees, %" for angle in ANGLES), "keys of a cell"],
            *(
                [
                    f"{kernel[0]} x {kernel[1]}",
                    f"{deviation:.0f} degrees",
                    *(spread([one[i] for one in found]) for i in range(len(ANGLES))),
                    str(4 * kernel[0] * kernel[1]),
                ]
                for (kernel, deviation), found in scores.items()
            ),
            ["all positions", "", "", "", "", str(4 * MAP[0] * MAP[1])],
        ],
        {
            "the look-up table gives the same output, exactly": _table_is_exact(),
            "trained with deviations, 3 x 3 is more than 3 points above 1 x 1 at 4 degrees": mean(window)
            > mean(small) + 3,
            "trained without, 3 x 3 loses a smaller share from 0 to 4 degrees than 1 x 1": lost[3, 3] < lost[1, 1],
        },
    )


def _scores(kernel: tuple[int, int], deviation: float, seed: int, steps: int) -> list[float]:
    """Train, and return the intersection over union, in percent, at all angles."""
    torch.manual_seed(seed)
    network, rig = BirdsEyeNetwork(kernel), surround_rig()
    train(network, rig, steps=steps, seed=seed, deviation=deviation)
    return [100 * evaluate(network, rig, deviation=angle, seed=1000 + seed) for angle in ANGLES]


@torch.no_grad()
def _table_is_exact() -> bool:
    torch.manual_seed(0)
    network, rig = BirdsEyeNetwork(), surround_rig()
    images, _ = make_scenes(2, rig, torch.Generator().manual_seed(0))
    table = network.attend.table(network.points, rig, MAP)
    return torch.equal(network(images, rig), network(images, rig, table))
