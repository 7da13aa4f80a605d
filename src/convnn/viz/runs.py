"""Training runs as their folders tell of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

from convnn.errors import InputError
from convnn.viz.curves import COLUMNS, Curves, read_curves

FOUND_OUT = ("num_classes", "img_size", "total_params", "trainable_params")
"""Lines of args.txt that are no flags."""


@dataclass(frozen=True)
class Run:
    """A run, finished or still going.

    Attributes:
        name: by which it is told from others.
        flags: as text.
        curves: the columns of metrics.csv, a value an epoch; accuracies from 0 to 1, NaN where one is missing.
        parameters: of the network.
        gflops: billions of operations of one image forward.
        seconds: of training, an epoch on average.

    Numbers that the folder does not tell are NaN.
    """

    name: str
    flags: dict[str, str]
    curves: Curves
    parameters: float
    gflops: float
    seconds: float

    @property
    def best(self) -> int | None:
        """Index of the epoch with the highest test accuracy, the first of several; None where none is known."""
        accuracies = self.curves["test_top1"]
        known = [index for index, accuracy in enumerate(accuracies) if not isnan(accuracy)]
        return max(known, key=accuracies.__getitem__, default=None)

    def at(self, index: int | None, column: str) -> float:
        """A value of the curves, NaN at no epoch."""
        return nan if index is None else self.curves[column][index]


def read_runs(folders: Sequence[Path | str]) -> list[Run]:
    """Runs by their folders, which hold at least args.txt, metrics.csv and train_eval_results.txt.

    A run is called after its folder; where two folders have one name, the folders above tell them apart.

    Raises:
        InputError: there are fewer than two, one is named twice, or one lacks a file or has one that cannot be read.
    """
    if len(folders) < 2:
        raise InputError(f"{len(folders)} run cannot be compared; give the folders of two or more")
    paths = [Path(folder).resolve() for folder in folders]
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"run '{folder}' is given twice")
    return [_read_run(Path(folder), name) for folder, name in zip(folders, _distinct_names(paths), strict=True)]


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """The ends of different paths, each as long as it takes to be the end of no other."""
    names = []
    for path in paths:
        length = 1
        while sum(other.parts[-length:] == path.parts[-length:] for other in paths) > 1:
            length += 1
        names.append("/".join(path.parts[-length:]))
    return names


def _read_run(folder: Path, name: str) -> Run:
    if not folder.is_dir():
        raise InputError(f"run '{folder}' is not a folder; give the --output_dir of a training")
    if not (folder / "metrics.csv").is_file():
        raise InputError(f"run '{folder}' has no metrics.csv; compare it after its first epoch")
    flags = _read_flags(folder / "args.txt")
    results = _read_text(folder / "train_eval_results.txt")
    return Run(
        name=name,
        flags={key: value for key, value in flags.items() if key not in FOUND_OUT},
        curves=read_curves(folder / "metrics.csv", (*COLUMNS, "test_top5")),
        parameters=_number(flags.get("total_params", "")),
        gflops=_number_after("GFLOPs: ", results),
        seconds=_number_after("Average Epoch Time: ", results),
    )


def _read_flags(path: Path) -> dict[str, str]:
    flags = {}
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        name, separator, value = line.partition(": ")
        if not separator:
            raise InputError(f"'{path}' has {line[:40]!r} in line {number}, which is no `flag: value`")
        flags[name] = value
    return flags


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"run '{path.parent}' has no {path.name}; give the --output_dir of a training")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _number_after(words: str, text: str) -> float:
    match = re.search(rf"{re.escape(words)}(\d+(?:\.\d+)?)", text)
    return nan if match is None else float(match[1])


def _number(text: str) -> float:
    return float(text) if text.isdecimal() else nan
