"""The files of a run, by name and format."""

import io
import re
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from convnn.errors import InputError

ARGUMENTS, NETWORK = "args.txt", "model.txt"
METRICS, TIMES, RESULTS, BROKEN_IMAGES = "metrics.csv", "times.csv", "train_eval_results.txt", "broken_images.txt"
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
CURVES, NEIGHBORS, TENSORBOARD = "curves.png", "neighbors.csv", "tensorboard"

COLUMNS = ("epoch", "train_loss", "train_top1", "train_top5", "test_loss", "test_top1", "test_top5", "lr")
"""Of metrics.csv, which depends on the flags alone; how long it took is in times.csv."""

VAL_COLUMNS = ("val_loss", "val_top1", "val_top5")
"""Ahead of the test columns where a set has three parts; those of test are filled at the end, for the best epoch."""

TIMES_COLUMNS = ("epoch", "seconds", "images_per_second")
"""Of times.csv, which depends on the machine."""

FOUND_OUT = ("num_classes", "img_size", "total_params", "trainable_params", "gflops")
"""Lines of args.txt that are no flags."""

_NO_TEXT = re.compile(r"\\(udc[89a-f][0-9a-f])")
"""A byte of a path that is no text, as `write_atomically` writes it."""


def arguments_text(values: Mapping[str, Any]) -> str:
    """args.txt: a line `name: value` for each value."""
    return "".join(f"{name}: {value}\n" for name, value in values.items())


def parse_arguments(text: str, source: str) -> dict[str, str]:
    """The values of an args.txt as text, by name; paths that are no text are what they were.

    Args:
        text: what the file holds.
        source: the file, as a message names it.

    Raises:
        InputError: a line is no `name: value`, or names what has a value already.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(io.StringIO(text), start=1):
        name, separator, value = line.removesuffix("\n").partition(": ")
        if not separator or name in values:
            wrong = "a second value" if separator else "no `key: value`"
            raise InputError(f"{source} has {short(line.strip())} in line {number}, which is {wrong}")
        values[name] = _NO_TEXT.sub(lambda byte: chr(int(byte[1][1:], 16)), value)
    return values
