"""The results of a study: a row for each run, and a row for each setting over its repetitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isnan, nan
from statistics import fmean, stdev
from typing import Any

from convnn.errors import InputError
from convnn.figures import SHARE, Figure, figure_of
from convnn.runs import Run, common_figure, metric_name, read_run, validation_parts
from convnn.runs.files import METRICS
from convnn.study.definition import COSTS, MEASURES, TEST, PlannedRun, Study
from convnn.tables import csv_text, escape_markdown, markdown_table
from convnn.train import TrainConfig
from convnn.train.resume import is_changeable
from convnn.train.stopping import stop_reason

LAST_EPOCHS = 5
"""The number of last epochs whose mean is `average`, as in the published tables."""

HEADINGS = {
    "best": "best {metric}",
    "last": "last {metric}",
    TEST: "test {metric} of the best",
    "gflops": "GFLOPs",
    "parameters": "parameters",
    "seconds": "s/epoch",
}
FORMATS = {"gflops": "{:.3g}", "parameters": "{:,.0f}", "seconds": "{:.3g}"}


def heading(name: str, groups: "Sequence[Group]") -> str:
    """Return the heading of one of `MEASURES` or `COSTS` in a table or picture of these groups."""
    results = [result for group in groups for result in group.results]
    if name != "average":
        return HEADINGS[name].format(metric=metric_name([result.run for result in results]))
    counts = sorted({min(LAST_EPOCHS, result.epochs) for result in results}) or [LAST_EPOCHS]
    return f"mean of last {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")


@dataclass(frozen=True)
class Result:
    """The results of a started run of a study.

    Attributes:
        planned: the run as planned.
        run: the run as read from its folder.
    """

    planned: PlannedRun
    run: Run

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return int(self.run.curves["epoch"][-1])

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or its patience has run out."""
        return stop_reason(self.run.merits, self.planned.config) is not None

    def value(self, name: str) -> float:
        """Return one of `MEASURES`, `TEST` or one of `COSTS`; accuracies from 0 to 1, NaN where unknown."""
        if name in COSTS:
            return float(getattr(self.run, name))
        if name == "best":
            return self.run.validation(self.run.best, self.run.metric)
        if name == TEST:
            return self.run.at(self.run.best, f"test_{self.run.metric}")
        values = self.run.values
        return values[-1] if name == "last" else fmean(values[-LAST_EPOCHS:])

    def text(self, name: str) -> str:
        """Return one of `MEASURES` or `TEST` as its metric is written."""
        return figure_of(self.run.metric).text(self.value(name))


@dataclass(frozen=True)
class Group:
    """The runs of one combination of settings.

    Attributes:
        settings: their common settings, by flag.
        results: a result for each repetition.
    """

    settings: Mapping[str, Any]
    results: Sequence[Result]

    @property
    def mean_run(self) -> Run:
        """The mean curves of the repetitions as a run, named after the settings."""
        runs = [result.run for result in self.results]
        epochs = min(result.epochs for result in self.results)
        curves = {
            name: [fmean(values) for values in zip(*(run.curves[name][:epochs] for run in runs), strict=True)]
            for name in runs[0].curves
            if all(name in run.curves for run in runs)
        }
        return replace(runs[0], name=self.named(self.settings), curves=curves)

    def named(self, settings: Iterable[str]) -> str:
        """Return the values of some settings as text: words stand alone, numbers follow their name."""
        values = {name: self.settings[name] for name in settings if self.settings[name] is not None}
        return ", ".join(value if isinstance(value, str) else f"{name}={value}" for name, value in values.items())

    def mean(self, name: str) -> float:
        """Return the mean over the repetitions whose value is known; NaN if there are none."""
        known = self._known(name)
        return fmean(known) if known else nan

    def spread(self, name: str) -> float:
        """Return the standard deviation of the repetitions, with n - 1; NaN below two."""
        known = self._known(name)
        return stdev(known) if len(known) > 1 else nan

    def _known(self, name: str) -> list[float]:
        return [value for result in self.results if not isnan(value := result.value(name))]


def figure_of_groups(groups: Sequence[Group]) -> Figure:
    """Return how the metric of all runs of some groups is written and compared; as shares where they differ."""
    return common_figure([result.run for group in groups for result in group.results]) or SHARE


def read_result(planned: PlannedRun) -> Result | None:
    """Read the results of a run; return None if no epoch is done.

    Raises:
        InputError: the run has other flags than in the study, or a file cannot be read.
    """
    if not (planned.folder / METRICS).is_file():
        return None
    run = read_run(planned.folder, planned.name)
    for f in fields(TrainConfig):
        expected, found = str(getattr(planned.config, f.name)), run.flags.get(f.name)
        if found not in (None, expected) and not is_changeable(f.name, planned.config) and planned.config.reads(f.name):
            raise InputError(
                f"'{planned.folder}' was run with {f.name}={found}, but the study has {expected}; remove that folder,"
                " or give the study another output_dir"
            )
    return Result(planned, run)


def read_results(study: Study) -> list[Result]:
    """Read the results of all started runs, in the order of the study."""
    return [result for planned in study.runs if (result := read_result(planned)) is not None]


def group_results(study: Study, results: Sequence[Result]) -> list[Group]:
    """Group finished runs by their settings, with all repetitions in one group."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        if result.is_finished:
            groups.setdefault(tuple(result.planned.settings.get(name) for name in study.settings), []).append(result)
    return [Group(dict(zip(study.settings, key, strict=True)), group) for key, group in groups.items()]


def measures_of(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the measures to show: `MEASURES`, and `TEST` if some of the runs have a val part beside it."""
    return MEASURES + ((TEST,) if any(result.run.validation_part == "val" for result in results) else ())


def results_csv(study: Study, results: Sequence[Result]) -> str:
    """Return results.csv with a row per run: settings, epochs, accuracies from 0 to 1, and costs, all unrounded."""
    names = [*study.settings, *(name for name in study.repeats if any(name in run.settings for run in study.runs))]
    measures = measures_of(results)
    rows = [
        [result.planned.name, *(result.planned.settings.get(name, "") for name in names), result.epochs]
        + ["" if isnan(value := result.value(name)) else value for name in measures + COSTS]
        for result in results
    ]
    return csv_text(["run", *names, "epochs", *measures, *COSTS], rows)


def results_table(study: Study, groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table: mean and standard deviation over the repetitions, accuracies in percent."""
    settings, measures = study.settings, measures_of([result for group in groups for result in group.results])
    figure = figure_of_groups(groups)
    head = [*settings, "runs", *(heading(name, groups) for name in measures + COSTS)]
    rows = [
        [*(_text(group.settings[name]) for name in settings), str(len(group.results))]
        + [_accuracy(group, name, figure) for name in measures]
        + [_cost(group, name) for name in COSTS]
        for group in groups
    ]
    return head, rows


def results_markdown(study: Study, groups: Sequence[Group]) -> str:
    """Return the table as Markdown, under the title of the study."""
    head, rows = results_table(study, groups)
    is_number = [name not in study.settings for name in head]
    cells = [list(map(escape_markdown, row)) for row in rows]
    table = markdown_table(list(map(escape_markdown, head)), cells, is_number)
    results = [result for group in groups for result in group.results]
    part = validation_parts([result.run for result in results]).capitalize()
    part += " and test" if TEST in measures_of(results) else ""
    what = "accuracies in percent" if figure_of_groups(groups).is_share else "figures"
    return f"# {study.title}\n\n{part} {what}: mean and standard deviation of the runs.\n\n{table}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _accuracy(group: Group, name: str, figure: Figure) -> str:
    mean, spread, digits = figure.scale * group.mean(name), figure.scale * group.spread(name), figure.decimals
    if isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" if isnan(spread) else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _cost(group: Group, name: str) -> str:
    mean = group.mean(name)
    return "–" if isnan(mean) else FORMATS[name].format(mean)
