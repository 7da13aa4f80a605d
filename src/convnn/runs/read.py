"""Training runs as their folders tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean

from convnn.errors import InputError
from convnn.runs.curves import Curves, read_curves, validation_part
from convnn.runs.files import ARGUMENTS, FOUND_OUT, METRICS, TIMES, TIMES_COLUMNS, parse_arguments
from convnn.words import counted


@dataclass(frozen=True)
class Run:
    """A run, finished or still going.

    Attributes:
        name: by which it is told from others.
        flags: as text.
        curves: the columns of metrics.csv, a value an epoch; accuracies from 0 to 1, NaN where one is missing, as
            those of test beside val are but for the best epoch of a run that is over.
        parameters: of the network.
        gflops: billions of operations of one image forward.
        seconds: of training, an epoch on average.
        repeats: the runs that this is the mean of; none of a single run.

    Numbers that the folder does not tell are NaN.
    """

    name: str
    flags: dict[str, str]
    curves: Curves
    parameters: float
    gflops: float
    seconds: float
    repeats: "tuple[Run, ...]" = ()

    @property
    def validation_part(self) -> str:
        """By which the best epoch is chosen: "val", or "test" where there are two parts only."""
        return validation_part(self.curves)

    @property
    def best(self) -> int | None:
        """Index of the epoch with the highest validation accuracy, the first of several; None where none is known."""
        accuracies = self.curves[f"{self.validation_part}_top1"]
        known = [index for index, accuracy in enumerate(accuracies) if not isnan(accuracy)]
        return max(known, key=accuracies.__getitem__, default=None)

    def validation(self, index: int | None, measure: str) -> float:
        """The "loss", "top1" or "top5" of an epoch on that part, NaN at no epoch."""
        return self.at(index, f"{self.validation_part}_{measure}")

    def at(self, index: int | None, column: str) -> float:
        """A value of the curves, NaN at no epoch."""
        return nan if index is None else self.curves[column][index]


def read_run(folder: Path | str, name: str | None = None) -> Run:
    """A run by its folder, which holds at least args.txt, metrics.csv and times.csv.

    Args:
        folder: the --output_dir of a training.
        name: by which it is told from others; that of the folder when left out.

    Raises:
        InputError: it lacks a file or has one that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"run '{folder}' is not a folder; give the --output_dir of a training")
    if not (folder / METRICS).is_file():
        raise InputError(f"run '{folder}' has no {METRICS}; read it after its first epoch")
    arguments = parse_arguments(_read_text(folder / ARGUMENTS), f"'{folder / ARGUMENTS}'")
    return Run(
        name=folder.resolve().name if name is None else name,
        flags={key: value for key, value in arguments.items() if key not in FOUND_OUT},
        curves=read_curves(folder / METRICS),
        parameters=_number(arguments.get("total_params", "")),
        gflops=_number(arguments.get("gflops", "")),
        seconds=fmean(read_curves(folder / TIMES, TIMES_COLUMNS)["seconds"]),
    )


def read_runs(folders: Sequence[Path | str]) -> list[Run]:
    """Several runs by their folders, as `read_run` does.

    A run is called after its folder; where two folders have one name, the folders above tell them apart.

    Raises:
        InputError: there are fewer than two, one is named twice, or one lacks a file or has one that cannot be read.
    """
    if len(folders) < 2:
        raise InputError(f"{counted(len(folders), 'run')} cannot be compared; give the folders of two or more")
    paths = [Path(folder).resolve() for folder in folders]
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"run '{folder}' is given twice")
    return [read_run(folder, name) for folder, name in zip(folders, _distinct_names(paths), strict=True)]


def validation_parts(runs: Sequence[Run]) -> str:
    """On which parts of their images the runs are measured: "test", "val", or "val or test"; "test" of no runs."""
    return " or ".join(sorted({run.validation_part for run in runs}, reverse=True)) or "test"


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """The ends of different paths, each as long as it takes to be the end of no other."""
    names = []
    for path in paths:
        length = 1
        while sum(other.parts[-length:] == path.parts[-length:] for other in paths) > 1:
            length += 1
        names.append("/".join(path.parts[-length:]))
    return names


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"run '{path.parent}' has no {path.name}; give the --output_dir of a training")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan
