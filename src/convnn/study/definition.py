"""What a study asks: a TOML file, and the runs that it stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

from convnn.errors import InputError, check_choice, did_you_mean
from convnn.train import TrainConfig
from convnn.train.config_file import checked_flags, parse_toml, read_text

OURS = ("output_dir", "resume", "overwrite", "device", "test_only", "checkpoint")
"""Flags that the sweep sets itself, or that make no sense in one."""

MEASURES = ("best", "last", "average")
"""Test accuracies of a run: of its best epoch, of its last, and the mean of its last five."""

COSTS = ("gflops", "parameters", "seconds")
"""What a run tells of its network besides."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study.

    Attributes:
        name: of its folder; says the settings in which the runs of the study differ.
        settings: those, by flag.
        config: all its flags.
    """

    name: str
    settings: dict[str, Any]
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return Path(self.config.output_dir)


@dataclass(frozen=True)
class Plot:
    """A picture of the results.

    Attributes:
        x: the setting, or one of `COSTS`, along the axis.
        y: one of `MEASURES`.
        lines: settings; a line for each combination of their values.
        panels: settings; a panel for each combination of theirs.
    """

    x: str
    y: str = "best"
    lines: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A question, and the runs that answer it.

    Attributes:
        name: that of the file.
        title: the question in a line.
        folder: where everything goes.
        runs: in the order of the file.
        repeats: settings that are no setting but a repetition; results are means over them.
        plots: pictures of the results.
    """

    name: str
    title: str
    folder: Path
    runs: tuple[PlannedRun, ...]
    repeats: tuple[str, ...] = ("seed",)
    plots: tuple[Plot, ...] = ()

    @property
    def settings(self) -> list[str]:
        """The settings in which runs differ, repetitions left out."""
        names = dict.fromkeys(name for run in self.runs for name in run.settings)
        return [name for name in names if name not in self.repeats]


def read_study(path: str | Path, changes: Mapping[str, Any] | None = None, folder: str | Path | None = None) -> Study:
    """A study from its file.

    The file has flags of every run under [flags]; under each [[runs]] a list of values for some flags, whose cross
    product is run; pictures under [[plots]]; and, all optional, `title`, `output_dir` and `repeats`.

    Args:
        path: FILE.toml.
        changes: flags of every run that are not as in the file.
        folder: where everything goes; that of the file's `output_dir` when None, runs/NAME without one.

    Raises:
        InputError: the file cannot be read, has an unknown key or a flag with a wrong value, or two runs are the same.
    """
    path = Path(path)
    source = f"study '{path}'"
    table = parse_toml(read_text(path, source), source)
    _check_keys(table, ("title", "output_dir", "repeats", "flags", "runs", "plots"), source)
    folder = Path(folder or table.get("output_dir", f"runs/{path.stem}"))
    flags = _flags(table.get("flags", {}), source) | dict(changes or {})
    runs = tuple(_planned(settings, flags, folder, source) for settings in _products(table.get("runs"), source))
    _check_not_varied(changes or {}, runs, source)
    _check_distinct(runs, source)
    study = Study(path.stem, table.get("title", path.stem), folder, runs, tuple(table.get("repeats", ["seed"])))
    plots = tuple(_plot(values, study, source) for values in table.get("plots", []))
    return Study(**(vars(study) | {"plots": plots}))


def _products(blocks: Any, source: str) -> Iterator[dict[str, Any]]:
    """The settings of every run."""
    if not isinstance(blocks, list) or not blocks:
        raise InputError(f"{source} has no [[runs]]; name there the flags to vary, each with a list of values")
    for block in blocks:
        for name, values in block.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"{source} has {name}={values!r} under [[runs]]; it must be a list of values")
        for values in product(*block.values()):
            yield _flags(dict(zip(block, values, strict=True)), source)


def _flags(given: Any, source: str) -> dict[str, Any]:
    given = checked_flags(given, source)
    for name in given:
        if name in OURS:
            raise InputError(f"{source} has the flag {name!r}, which a sweep sets itself; leave it out")
    return given


def _planned(settings: dict[str, Any], flags: dict[str, Any], folder: Path, source: str) -> PlannedRun:
    name = ",".join(f"{key}={quote(str(value), safe=':+')}" for key, value in settings.items())
    try:
        config = TrainConfig(**(flags | settings | {"output_dir": str(folder / name), "resume": "auto"}))
    except InputError as error:
        raise InputError(f"{source}, run {name}: {error}") from None
    return PlannedRun(name, settings, config)


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


def _plot(values: Any, study: Study, source: str) -> Plot:
    _check_keys(values, ("x", "y", "lines", "panels"), f"{source}, under [[plots]],")
    if "x" not in values:
        raise InputError(f"{source} has a plot without x; name a setting or one of {', '.join(COSTS)}")
    plot = Plot(values["x"], values.get("y", "best"), *(tuple(values.get(key, ())) for key in ("lines", "panels")))
    check_choice(f"y of a plot of {source}", plot.y, MEASURES)
    check_choice(f"x of a plot of {source}", plot.x, [*study.settings, *COSTS])
    for name in plot.lines + plot.panels:
        check_choice(f"a line or panel of a plot of {source}", name, study.settings)
    return plot


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], source: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{source} has the unknown key {key!r}{did_you_mean(key, known)}")
