"""Data sets small enough to run every documented command in seconds."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from convnn.data.sources import Tensors, TensorSource

COUNT = 8


def few_cifar(kind: type, *_: object) -> TensorSource:
    """Return random images in place of the CIFAR-10 or CIFAR-100 of `convnn.data.builders.read_cifar`."""
    num_classes = {"CIFAR10": 10, "CIFAR100": 100}[kind.__name__]

    def part() -> Tensors:
        images = torch.randint(256, (COUNT, 3, 32, 32), dtype=torch.uint8)
        return Tensors(images, torch.randint(num_classes, (COUNT,)))

    return TensorSource(part(), part(), tuple(map(str, range(num_classes))))


def write_pictures(folder: Path) -> None:
    """Write random pictures: a folder per class, and two single ones that the pages mention."""
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / "pictures" / part / name).mkdir(parents=True)
            for number in range(COUNT // 2):
                _write_picture(folder / "pictures" / part / name / f"{number}.jpg")
    for name in ("cat", "dog"):
        _write_picture(folder / f"{name}.jpg")


def _write_picture(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
