"""GKT: small windows around projected points, where cameras deviate from their calibration."""

import tempfile
from statistics import mean

import torch

from claims._experiment import Outcome, spread
from convnn.data import LabelledData, load_data
from convnn.models import create_model
from convnn.ops.surround import MAP
from convnn.train import TrainConfig, Trainer, evaluate, judging, make_accelerator
from convnn.train.overlap import OverlapMeter

SYSTEM = "GKT: projected windows"
CLAIM = (
    "A window around the projection of a cell needs a fraction of the keys of attention to all positions, is looked up"
    " in a table for a fixed rig, and tolerates cameras that deviate from their calibration."
)
EXPERIMENT = (
    "Four cameras see 6 random discs on a ground of 12 x 12 metres, with noise; intersection over union, in percent, of"
    " the ground seen from above (12 x 12 cells) on 32 new scenes, with cameras turned by normal angles of 0, 2 and 4"
    " degrees that the network is not told: windows of 1 x 1, 3 x 3 and 5 x 5 positions of maps of 12 x 20, trained for"
    " 400 steps of 4 new scenes with no deviation, and with one of 4 degrees. 16 channels, 2 heads."
)
SEEDS = (0, 1, 2)
SIDES = (1, 3, 5)
ANGLES = (0.0, 2.0, 4.0)


def measure(seeds: list[int], quick: bool) -> Outcome:
    epochs, limit = (1, 8) if quick else (4, None)
    ways = [(side, deviation) for deviation in (0.0, 4.0) for side in SIDES]
    scores = {way: [_scores(*way, seed, epochs, limit) for seed in seeds] for way in ways}
    at_four = {key: [one[-1] for one in found] for key, found in scores.items()}
    small, window = at_four[1, 4.0], at_four[3, 4.0]
    before = {side: max(mean(one[0] for one in scores[side, 0.0]), 1e-9) for side in SIDES}  # 0 in the quick form
    lost = {side: 1 - mean(at_four[side, 0.0]) / before[side] for side in SIDES}
    head = ["window", "trained at", *(f"IoU at {angle:.0f} degrees, %" for angle in ANGLES), "keys of a cell"]
    rows = [
        [f"{side} x {side}", f"{deviation:.0f} degrees", *map(spread, zip(*found, strict=True)), f"{4 * side * side}"]
        for (side, deviation), found in scores.items()
    ]
    return Outcome(
        [head, *rows, ["all positions", "", "", "", "", str(4 * MAP[0] * MAP[1])]],
        {
            "the look-up table gives the same output, exactly": _table_is_exact(),
            "trained with deviations, 3 x 3 is more than 3 points above 1 x 1 at 4 degrees": mean(window)
            > mean(small) + 3,
            "trained without, 3 x 3 loses a smaller share from 0 to 4 degrees than 1 x 1": lost[3] < lost[1],
        },
    )


def _data(deviation: float, seed: int, limit: int | None = None) -> LabelledData:
    return load_data("grounds", batch_size=4, seed=seed, split=seed, deviation=deviation, limit_train=limit)


def _scores(side: int, deviation: float, seed: int, epochs: int, limit: int | None) -> list[float]:
    """Train, and return the intersection over union, in percent, at all angles."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(model="gkt", kernel_size=side, seed=seed, num_epochs=epochs, output_dir=folder)
        torch.manual_seed(seed)
        sizes = {"in_channels": 1, "num_classes": 2}
        network, accelerator = create_model("gkt", **sizes, **config.settings), make_accelerator(torch.device("cpu"))
        Trainer(network, _data(deviation, seed, limit), config, accelerator).fit()
        return [_iou(network, _data(angle, seed), accelerator) for angle in ANGLES]


def _iou(network, data: LabelledData, accelerator) -> float:
    meter = OverlapMeter(accelerator.device, num_classes=2)
    evaluate(judging(network, "CrossEntropy", data.task), data.test, accelerator, meter=meter)
    return 100 * meter.overlap(meter.sums).iou[1].item()


@torch.no_grad()
def _table_is_exact() -> bool:
    network = create_model("gkt", in_channels=1, num_classes=2, kernel_size=3).eval()
    images = next(iter(_data(0.0, 0).test)).inputs
    return torch.equal(network(images, network.rig), network(images))
