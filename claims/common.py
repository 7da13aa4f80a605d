"""COMMON: graph matching where annotations are wrong."""

import tempfile

import torch

from claims._experiment import Outcome, spread
from convnn.data import load_data
from convnn.models import create_model
from convnn.train import TrainConfig, Trainer, make_accelerator

SYSTEM = "COMMON"
CLAIM = (
    "Targets in part of a momentum teacher, and edges compared where it believes both ends, make matching robust to"
    " wrong annotations."
)
EXPERIMENT = (
    "24 classes of keypoints with prototypes in R^8; an image has 10 of them, with noise 0.45 and a style of its own,"
    " through a fixed random tanh layer to 16 numbers, with noise 0.5. 60 pairs to train, of whose nodes a share q is"
    " annotated cyclically wrong, and 60 clean ones to test; an MLP 16-64-16, Adam at 0.003, 25 epochs in batches of 6"
    " pairs, m = 0.98, warm-up of 100 batches. Accuracy in percent by the Hungarian method, after the last epoch."
)
SEEDS = (0, 1, 2, 3, 4)
PARTS = {"InfoNCE": (0.0, 0.0), "+ distillation": (0.4, 0.0), "+ quadratic": (0.0, 1.0), "both": (0.4, 1.0)}


def measure(seeds: list[int], quick: bool) -> Outcome:
    epochs = 1 if quick else 25
    scores = {q: {n: [trained(q, *how, s, epochs) for s in seeds] for n, how in PARTS.items()} for q in (0.0, 0.5)}
    mean = {q: {name: sum(of) / len(of) for name, of in found.items()} for q, found in scores.items()}
    gain = {q: found["both"] - found["InfoNCE"] for q, found in mean.items()}
    rows = [[f"{q:g}", *(spread(of) for of in found.values())] for q, found in scores.items()]
    return Outcome(
        [["q", *(f"{name}, %" for name in PARTS)], *rows],
        {
            "at q = 0.5 both are above InfoNCE by more than 5": gain[0.5] > 5,
            "the gain is larger than at q = 0": gain[0.5] > gain[0.0],
        },
    )


def trained(q: float, share: float, edges: float, seed: int, epochs: int) -> float:
    """Train as `convnn match train --model common --mislabelled q` does, and return the accuracy in percent."""
    flags = {"teacher_share": share, "edge_weight": edges, "split": seed, "seed": seed, "num_epochs": epochs}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(model="common", mislabelled=q, output_dir=folder, **flags)
        data = load_data("keypoints", batch_size=config.batch_size, seed=seed, split=seed, mislabelled=q)
        torch.manual_seed(seed)
        network = create_model("common", in_channels=data.input_shape[0], **config.settings)
        results = Trainer(network, data, config, make_accelerator(torch.device("cpu"))).fit()
    return 100 * results[-1].test.measures["matched"]
