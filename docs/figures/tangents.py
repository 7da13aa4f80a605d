"""The figures of tangent kernels, of networks trained for them: `PYTHONPATH=docs python -m figures.tangents`.

They stand in docs/images as tangent.png and attribution.png, and take some minutes, so that no test draws them.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import torch

from convnn.cli import main
from convnn.data import load_data
from convnn.tangent import TangentSurrogate
from convnn.train import load_checkpoint
from convnn.viz import draw_attribution

TRAIN = "train --dataset digits --model resnet18 --width 0.125 --num_epochs 4 --batch_size 64 --lr 0.003 --seed 0"
LAYERS = ("Conv2d", "ConvNN", "Branching")
IMAGES = 60  # on which kernels are measured
QUERIES, SAMPLES = 4, 150  # of the attribution


def draw(folder: Path) -> None:
    """Train a network of each layer, compare their kernels, and attribute predictions of the first."""
    with tempfile.TemporaryDirectory() as runs:
        for layer in LAYERS:
            settings = "" if layer == "Conv2d" else "--K 9"
            main(f"{TRAIN} --layer {layer} {settings} --output_dir {runs}/{layer}".split())
        paths = [f"{runs}/{layer}" for layer in LAYERS]
        main(["tangent", *paths, "--limit_test", str(IMAGES), "--out", f"{runs}/tangent"])
        shutil.copy(f"{runs}/tangent/tangent.png", folder / "tangent.png")
        attribute(Path(runs) / LAYERS[0], folder / "attribution.png")


def attribute(run: Path, path: Path) -> None:
    """Draw from which training images predictions of a network come."""
    network, _ = load_checkpoint(run)
    data = load_data("digits", batch_size=SAMPLES)
    train, test = next(iter(data.train)), next(iter(data.test))
    queries = test.inputs[:QUERIES]
    with torch.no_grad():
        predicted = network(queries).argmax(1)
    surrogate = TangentSurrogate(network, "sum_of_logits").fit(train.inputs, train.labels)
    parts = surrogate.attribute(queries)[torch.arange(QUERIES), predicted]
    draw_attribution(queries, train.inputs, parts, path, names=[f"a {digit}" for digit in predicted.tolist()])


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
