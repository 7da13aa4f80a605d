"""The files of a run: names and formats."""

import io
import re
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from convnn.errors import InputError

ARGUMENTS, NETWORK = "args.txt", "model.txt"
METRICS, TIMES, RESULTS, BROKEN_IMAGES = "metrics.csv", "times.csv", "train_eval_results.txt", "broken_images.txt"
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
CURVES, NEIGHBORS, KERNELS, TENSORBOARD = "curves.png", "neighbors.csv", "kernels.csv", "tensorboard"

COLUMNS = ("epoch", "train_loss", "train_top1", "train_top5", "test_loss", "test_top1", "test_top5", "lr")
"""Columns of metrics.csv, which depends on the flags alone; times are in times.csv."""

SCORES = ("loss", "top1", "top5")
"""What the columns of each part are called after it; without labels only the first exists."""

VAL_COLUMNS = ("val_loss", "val_top1", "val_top5")
"""Columns before those of test if a set has three parts; test is filled in at the end, for the best epoch."""

TERM = "term_"
"""How the names of the columns begin that hold the terms of a loss that has several, after these."""

TIMES_COLUMNS = ("epoch", "seconds", "images_per_second")
"""Columns of times.csv, which depends on the machine."""

FOUND_OUT = ("num_classes", "img_size", "total_params", "trainable_params", "gflops")
"""Lines of args.txt that are not flags but properties of images and network."""

_UNDECODABLE = re.compile(r"\\(udc[89a-f][0-9a-f])")
"""An undecodable byte of a path, as `write_atomically` writes it."""


def arguments_text(values: Mapping[str, Any]) -> str:
    """Return args.txt, with a line `name: value` for each value."""
    return "".join(f"{name}: {value}\n" for name, value in values.items())


def parse_arguments(text: str, source: str) -> dict[str, str]:
    """Parse args.txt into texts by name; undecodable bytes of paths are restored.

    Args:
        text: contents of the file.
        source: the file, for messages.

    Raises:
        InputError: a line is not `name: value`, or repeats a name.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(io.StringIO(text), start=1):
        name, separator, value = line.removesuffix("\n").partition(": ")
        if not separator or name in values:
            fault = "repeats a key" if separator else "must be `key: value`"
            raise InputError(f"{source} has {short(line.strip())} in line {number}, which {fault}")
        values[name] = _UNDECODABLE.sub(lambda byte: chr(int(byte[1][1:], 16)), value)
    return values
