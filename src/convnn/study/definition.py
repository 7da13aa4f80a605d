"""The definition of a study: a TOML file and the runs that it describes."""

import hashlib
import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

from convnn.errors import InputError, check_choice, did_you_mean
from convnn.files import expand_home
from convnn.nn import import_layers
from convnn.train import TrainConfig
from convnn.train.config_file import check_flags, parse_toml, read_text

SWEEP_FLAGS = ("output_dir", "resume", "overwrite", "device", "test_only", "checkpoint")
"""Flags that a sweep sets itself, or that make no sense in a study."""

MEASURES = ("best", "last", "average")
"""Accuracies of a run: of its best epoch, of its last, and the mean of its last five epochs, or of all if fewer."""

TEST = "test"
"""The test accuracy of the best epoch of a run whose data have a val part."""

COSTS = ("gflops", "parameters", "seconds")
"""Costs of a run's network."""

LONGEST_NAME = 143
"""Bytes in a folder name that every file system accepts, including encrypted ones."""

MOST_RUNS = 10_000
"""The largest number of runs of a study: weeks of work for a large cluster."""

FORMAT = {
    "title": (str, None, "text"),
    "output_dir": (str, None, "a path"),
    "repeats": (list, str, 'a list of flags, such as ["seed"]'),
    "flags": (dict, None, "a table, [flags]"),
    "runs": (list, dict, "tables of lists of values, [[runs]]"),
    "baselines": (list, dict, "tables of settings, [[baselines]]"),
    "plots": (list, dict, "tables, [[plots]]"),
}
"""The keys of a study file: the type of each, that of its items, and their name in messages."""

PLOT_FORMAT = {
    "x": (str, None, "a setting or a cost"),
    "y": (str, None, "an accuracy"),
    "lines": (list, str, 'a list of settings, such as ["layer"]'),
    "panels": (list, str, 'a list of settings, such as ["layer"]'),
}


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study.

    Attributes:
        name: name of its folder: the settings in which the runs of the study differ, shortened if there are many.
        settings: these settings, by flag.
        config: all its flags.
    """

    name: str
    settings: dict[str, Any]
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Folder of its results."""
        return Path(self.config.output_dir)


@dataclass(frozen=True)
class Plot:
    """A picture of the results.

    Attributes:
        x: setting, or one of `COSTS`, on the horizontal axis.
        y: one of `MEASURES`, or `TEST`, on the vertical axis.
        lines: settings; there is a line for each combination of their values.
        panels: settings; there is a panel for each combination of their values.
    """

    x: str
    y: str = "best"
    lines: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it.

    Attributes:
        name: name of the file, without suffix.
        title: the question in one line.
        folder: folder of all results.
        runs: the runs, in the order of the file.
        repeats: settings that only repeat a run, such as the seed; results are means over them.
        baselines: settings from whose results the others' differences are computed, such as {"layer": "Conv2d"}.
        plots: pictures of the results.
        same: names of skipped runs, which differ from others only in settings that they do not read, and of the latter.
    """

    name: str
    title: str
    folder: Path
    runs: tuple[PlannedRun, ...]
    repeats: tuple[str, ...] = ("seed",)
    baselines: tuple[Mapping[str, Any], ...] = ()
    plots: tuple[Plot, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> list[str]:
        """The settings in which runs differ, without repetitions."""
        names = dict.fromkeys(name for run in self.runs for name in run.settings)
        return [name for name in names if name not in self.repeats]


def read_study(path: str | Path, changes: Mapping[str, Any] | None = None, folder: str | Path | None = None) -> Study:
    """Read a study from its file.

    The file has flags of every run under [flags]; under each [[runs]] lists of values for some flags, of which every
    combination is run; under [[baselines]] settings that the others are compared with; pictures under [[plots]]; and,
    all optional, `title`, `output_dir` and `repeats`.

    Args:
        path: FILE.toml.
        changes: flags that override those of the file in every run.
        folder: folder of all results; None is the file's `output_dir`, or runs/NAME without one.

    Raises:
        InputError: the file cannot be read, has an unknown key or a wrong value, or describes more than `MOST_RUNS`
            runs or the same run twice.
    """
    path = Path(path)
    source = f"study '{path}'"
    table = parse_toml(read_text(path, source), source)
    _check_format(table, FORMAT, source)
    where = table.get("output_dir", f"runs/{path.stem}") if folder is None else folder
    folder = Path(expand_home(str(where), f"output_dir of {source}"))
    flags = _flags(table.get("flags", {}), source) | dict(changes or {})
    runs = tuple(_planned(settings, flags, folder, source) for settings in _products(table.get("runs"), source))
    _check_not_varied(changes or {}, runs, source)
    _check_distinct(runs, source)
    runs, same = _without_duplicates(runs)
    repeats = tuple(table.get("repeats", ["seed"]))
    flag_names = [f.name for f in fields(TrainConfig)]
    for name in repeats:
        if name not in flag_names:
            raise InputError(f"{source} has {name!r} in repeats, which is not a flag{did_you_mean(name, flag_names)}")
    study = Study(path.stem, table.get("title", path.stem), folder, runs, repeats, same=same)
    baselines = tuple(_baseline(values, study, source) for values in table.get("baselines", []))
    plots = tuple(_plot(values, study, source) for values in table.get("plots", []))
    return replace(study, baselines=baselines, plots=plots)


def _products(blocks: list[dict[str, Any]] | None, source: str) -> Iterator[dict[str, Any]]:
    """Yield the settings of every run; their number is checked first."""
    if not blocks or not all(blocks):
        missing = "a [[runs]] without flags" if blocks else "no [[runs]]"
        raise InputError(f"{source} has {missing}; name there the flags to vary, each with a list of values")
    for name, values in (item for block in blocks for item in block.items()):
        if not isinstance(values, list) or not values:
            shown = reprlib.repr(values)
            raise InputError(f"{source} has {name}={shown} under [[runs]]; it must be a list of values")
    count = sum(math.prod(map(len, block.values())) for block in blocks)
    if count > MOST_RUNS:
        raise InputError(
            f"{source} has {count:,} combinations under [[runs]], and a study has at most {MOST_RUNS:,} runs; vary"
            " fewer flags together, in several blocks or several studies"
        )
    for block in blocks:
        for values in product(*block.values()):
            yield _flags(dict(zip(block, values, strict=True)), source)


def _flags(values: Any, source: str) -> dict[str, Any]:
    flags = check_flags(values, source)
    for name in flags:
        if name in SWEEP_FLAGS:
            raise InputError(f"{source} has the flag {name!r}, which a sweep sets itself; leave it out")
    return flags


def _planned(settings: dict[str, Any], flags: dict[str, Any], folder: Path, source: str) -> PlannedRun:
    name = run_name(settings)
    try:
        import_layers((flags | settings).get("imports"))
        config = TrainConfig(**(flags | settings | {"output_dir": str(folder / name), "resume": "auto"}))
    except InputError as error:
        raise InputError(f"{source}, run {name}: {error}") from None
    return PlannedRun(name, settings, config)


def run_name(settings: Mapping[str, Any]) -> str:
    """Return the settings as the name of a folder; a name that is too long is cut and ends in a digest of the whole.

    Example:
        >>> run_name({"layer": "ConvNN", "where": "layer1/*"})
        'layer=ConvNN,where=layer1%2F%2A'
    """
    name = ",".join(f"{key}={quote(str(value), safe=':+')}" for key, value in settings.items())
    if len(name) <= LONGEST_NAME:
        return name
    digest = "..." + hashlib.sha256(name.encode()).hexdigest()[:16]
    return name[: LONGEST_NAME - len(digest)] + digest


def _check_not_varied(changes: Mapping[str, Any], runs: tuple[PlannedRun, ...], source: str) -> None:
    for name in changes:
        if any(name in run.settings for run in runs):
            raise InputError(f"--set {name} has no effect on runs of {source} that vary it; change its values there")


def _check_distinct(runs: tuple[PlannedRun, ...], source: str) -> None:
    seen = set()
    for run in runs:
        if run.name in seen:
            raise InputError(f"{source} has the run {run.name} twice")
        seen.add(run.name)


def _without_duplicates(runs: tuple[PlannedRun, ...]) -> tuple[tuple[PlannedRun, ...], dict[str, str]]:
    """Return the runs that differ in a flag that they read, and for each other run the name of its equivalent."""
    first: dict[tuple[tuple[str, str], ...], PlannedRun] = {}
    same = {}
    for run in runs:
        skipped = run.config.unread() | {*SWEEP_FLAGS}
        read = tuple((name, str(value)) for name, value in vars(run.config).items() if name not in skipped)
        if first.setdefault(read, run) is not run:
            same[run.name] = first[read].name
    return tuple(first.values()), same


def _baseline(values: dict[str, Any], study: Study, source: str) -> dict[str, Any]:
    for name in values:
        check_choice(f"a setting under [[baselines]] of {source}", name, study.settings)
    if not values or not any(all(run.settings.get(k) == v for k, v in values.items()) for run in study.runs):
        raise InputError(f"{source} has the baseline {reprlib.repr(values)}, but no run with these settings")
    return values


def _plot(values: Any, study: Study, source: str) -> Plot:
    _check_format(values, PLOT_FORMAT, f"{source}, under [[plots]],")
    if "x" not in values:
        raise InputError(f"{source} has a plot without x; name a setting or one of {', '.join(COSTS)}")
    plot = Plot(values["x"], values.get("y", "best"), *(tuple(values.get(key, ())) for key in ("lines", "panels")))
    check_choice(f"y of a plot of {source}", plot.y, (*MEASURES, TEST))
    check_choice(f"x of a plot of {source}", plot.x, [*study.settings, *COSTS])
    for name in plot.lines + plot.panels:
        check_choice(f"a line or panel of a plot of {source}", name, study.settings)
    return plot


def _check_format(table: Mapping[str, Any], known: Mapping[str, tuple[type, type | None, str]], source: str) -> None:
    """Refuse an unknown key (the message names the nearest) or a value of the wrong type."""
    for key, value in table.items():
        if key not in known:
            raise InputError(f"{source} has the unknown key {key!r}{did_you_mean(key, known)}")
        kind, item_kind, description = known[key]
        is_valid = isinstance(value, kind)
        if is_valid and item_kind is not None:
            is_valid = all(isinstance(item, item_kind) for item in value)
        if not is_valid:
            raise InputError(f"{source} has {key}={reprlib.repr(value)}, which must be {description}")
