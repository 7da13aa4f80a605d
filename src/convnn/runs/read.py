"""Training runs, read from their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean

from convnn.errors import InputError
from convnn.figures import SHARE, Figure, figure_of
from convnn.runs.curves import Curves, metric_of, read_curves, validation_part
from convnn.runs.files import ARGUMENTS, FOUND_OUT, METRICS, TIMES, TIMES_COLUMNS, parse_arguments
from convnn.words import counted


@dataclass(frozen=True)
class Run:
    """A run, finished or in progress.

    Attributes:
        name: by which it is told from others.
        flags: as text.
        curves: the columns of metrics.csv, a value an epoch; accuracies from 0 to 1, of which there
            are none without labels; NaN where one is missing, as those of test beside val are but for the best epoch of
            a run that is over.
        parameters: of the network.
        gflops: billions of operations of one image forward.
        seconds: of training, an epoch on average.
        repeats: the runs that this is the mean of; none of a single run.

    Numbers that the folder does not contain are NaN.
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
        """The part that decides which epoch is best: "val", or "test" where there are only two parts."""
        return validation_part(self.curves)

    @property
    def best(self) -> int | None:
        """Index of the first epoch of most merit; None if none is known."""
        merits = self.merits
        known = [index for index, merit in enumerate(merits) if not isnan(merit)]
        return max(known, key=merits.__getitem__, default=None)

    @property
    def metric(self) -> str:
        """The column of the metric that decides which epoch is best, after its part: "top1", a measure or "loss"."""
        return metric_of(self.curves)

    @property
    def figure(self) -> Figure:
        """How that metric is written, and whether more of it is better."""
        return figure_of(self.metric)

    @property
    def values(self) -> list[float]:
        """The metric of every epoch on the validation part."""
        return self.curves[f"{self.validation_part}_{self.metric}"]

    @property
    def merits(self) -> list[float]:
        """A number for every epoch that is the larger, the better the metric is."""
        return [self.figure.merit(value) for value in self.values]

    def validation(self, index: int | None, measure: str) -> float:
        """Return "loss", "top1", "top5" or a measure of an epoch on the validation part, NaN if `index` is None."""
        return self.at(index, f"{self.validation_part}_{measure}")

    def at(self, index: int | None, column: str) -> float:
        """Return a value of the curves, NaN if `index` is None or there is no such column."""
        return nan if index is None or column not in self.curves else self.curves[column][index]


def read_run(folder: Path | str, name: str | None = None) -> Run:
    """Read a run from its folder, which holds at least args.txt, metrics.csv and times.csv.

    Args:
        folder: the output_dir of a training run.
        name: name of the run; None is that of the folder.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"run '{folder}' is not a folder; name the output_dir of a training run")
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
    """Read several runs from their folders, as `read_run` does.

    A run is named after its folder; the folders above distinguish folders of the same name.

    Raises:
        InputError: there are fewer than two, one is given twice, or a file is missing or cannot be read.
    """
    if len(folders) < 2:
        raise InputError(f"{counted(len(folders), 'run')} cannot be compared; name the folders of at least two")
    paths = [Path(folder).resolve() for folder in folders]
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"run '{folder}' is given twice")
    return [read_run(folder, name) for folder, name in zip(folders, distinct_names(paths), strict=True)]


def metric_name(runs: Sequence[Run]) -> str:
    """Return how people write the metric that decides which epoch is best, such as "top-1"; all if they differ."""
    return " or ".join(dict.fromkeys(run.metric.replace("top1", "top-1") for run in runs)) or "top-1"


def common_figure(runs: Sequence[Run]) -> Figure | None:
    """Return how the metric of all runs is written and compared; None if none is best, as of losses and bits.

    Shares are compared even if they are of different things, such as accuracy and recall.
    """
    figures, metrics = {run.figure for run in runs}, {run.metric for run in runs}
    is_common = len(figures) == 1 and (len(metrics) == 1 or SHARE in figures)
    return figures.pop() if is_common else None


def validation_parts(runs: Sequence[Run]) -> str:
    """Return the parts on which the runs are evaluated: "test", "val", or "val or test"; "test" if there are none."""
    return " or ".join(sorted({run.validation_part for run in runs}, reverse=True)) or "test"


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends that distinguish the paths."""
    names = []
    for path in paths:
        length = 1
        while sum(other.parts[-length:] == path.parts[-length:] for other in paths) > 1:
            length += 1
        names.append("/".join(path.parts[-length:]))
    return names


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"run '{path.parent}' has no {path.name}; name the output_dir of a training run")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan
