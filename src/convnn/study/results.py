"""What came out of a study: a row for each run, and a row for each setting over its repetitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isnan, nan
from statistics import fmean, stdev
from typing import Any

from convnn.errors import InputError
from convnn.runs import Run, read_run, validation_parts
from convnn.runs.files import METRICS
from convnn.study.definition import COSTS, MEASURES, PlannedRun, Study
from convnn.tables import csv_text, escaped, markdown_table
from convnn.train import TrainConfig
from convnn.train.resume import may_change
from convnn.train.stopping import why_over

LAST_EPOCHS = 5
"""Over which `average` is the mean, as in the published tables."""

HEADINGS = {
    "best": "best top-1",
    "last": "last top-1",
    "gflops": "GFLOPs",
    "parameters": "parameters",
    "seconds": "s/epoch",
}
FORMATS = {"gflops": "{:.3g}", "parameters": "{:,.0f}", "seconds": "{:.3g}"}


def heading(name: str, groups: "Sequence[Group]") -> str:
    """What one of `MEASURES` or `COSTS` is called above a table or beside an axis of these groups."""
    if name != "average":
        return HEADINGS[name]
    counts = sorted({min(LAST_EPOCHS, one.epochs) for group in groups for one in group.results}) or [LAST_EPOCHS]
    return f"mean of last {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")


@dataclass(frozen=True)
class Result:
    """A run of a study that has begun.

    Attributes:
        planned: what was to be made.
        run: what is there.
    """

    planned: PlannedRun
    run: Run

    @property
    def epochs(self) -> int:
        """How many are done."""
        return int(self.run.curves["epoch"][-1])

    @property
    def is_finished(self) -> bool:
        """Whether all are, or its patience is at an end."""
        return why_over(self.run.curves[f"{self.run.validation_part}_top1"], self.planned.config) is not None

    def value(self, name: str) -> float:
        """One of `MEASURES` or `COSTS`; accuracies from 0 to 1, NaN where unknown."""
        if name in COSTS:
            return float(getattr(self.run, name))
        if name == "best":
            return self.run.validation(self.run.best, "top1")
        accuracies = self.run.curves[f"{self.run.validation_part}_top1"]
        return accuracies[-1] if name == "last" else fmean(accuracies[-LAST_EPOCHS:])


@dataclass(frozen=True)
class Group:
    """The runs of one setting.

    Attributes:
        settings: what they have in common, by flag.
        results: one for each repetition.
    """

    settings: Mapping[str, Any]
    results: Sequence[Result]

    @property
    def mean_run(self) -> Run:
        """The mean curves of the repetitions, called after the settings."""
        runs = [one.run for one in self.results]
        epochs = min(one.epochs for one in self.results)
        curves = {
            name: [fmean(values) for values in zip(*(run.curves[name][:epochs] for run in runs), strict=True)]
            for name in runs[0].curves
            if all(name in run.curves for run in runs)
        }
        return replace(runs[0], name=self.named(self.settings), curves=curves)

    def named(self, settings: Iterable[str]) -> str:
        """The values of some settings: a word speaks for itself, a number needs its name."""
        values = {name: self.settings[name] for name in settings if self.settings[name] is not None}
        return ", ".join(value if isinstance(value, str) else f"{name}={value}" for name, value in values.items())

    def mean(self, name: str) -> float:
        """Over the repetitions of which it is known; NaN of none."""
        known = self._known(name)
        return fmean(known) if known else nan

    def spread(self, name: str) -> float:
        """Standard deviation of the repetitions, with n - 1; NaN of fewer than two."""
        known = self._known(name)
        return stdev(known) if len(known) > 1 else nan

    def _known(self, name: str) -> list[float]:
        return [value for one in self.results if not isnan(value := one.value(name))]


def read_result(planned: PlannedRun) -> Result | None:
    """What is there of a run; None where no epoch is done.

    Raises:
        InputError: it was made with other flags than the study says, or a file cannot be read.
    """
    if not (planned.folder / METRICS).is_file():
        return None
    run = read_run(planned.folder, planned.name)
    for f in fields(TrainConfig):
        wanted, made = str(getattr(planned.config, f.name)), run.flags.get(f.name)
        if made not in (None, wanted) and not may_change(f.name, planned.config) and planned.config.reads(f.name):
            raise InputError(
                f"'{planned.folder}' was made with {f.name}={made}, and the study says {wanted}; remove that folder, or"
                " give the study another output_dir"
            )
    return Result(planned, run)


def read_results(study: Study) -> list[Result]:
    """Of all runs that have begun, in the order of the study."""
    return [result for planned in study.runs if (result := read_result(planned)) is not None]


def grouped(study: Study, results: Sequence[Result]) -> list[Group]:
    """Finished runs by their settings, repetitions together."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        if result.is_finished:
            groups.setdefault(tuple(result.planned.settings.get(name) for name in study.settings), []).append(result)
    return [Group(dict(zip(study.settings, key, strict=True)), group) for key, group in groups.items()]


def results_csv(study: Study, results: Sequence[Result]) -> str:
    """A row for each run: settings, epochs, accuracies from 0 to 1, cost; complete numbers."""
    names = [*study.settings, *(name for name in study.repeats if any(name in run.settings for run in study.runs))]
    rows = [
        [one.planned.name, *(one.planned.settings.get(name, "") for name in names), one.epochs]
        + ["" if isnan(value := one.value(name)) else value for name in MEASURES + COSTS]
        for one in results
    ]
    return csv_text(["run", *names, "epochs", *MEASURES, *COSTS], rows)


def results_table(study: Study, groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Head and rows to read: mean and standard deviation over the repetitions, accuracies in percent."""
    settings = study.settings
    head = [*settings, "runs", *(heading(name, groups) for name in MEASURES + COSTS)]
    rows = [
        [*(_text(group.settings[name]) for name in settings), str(len(group.results))]
        + [_accuracy(group, name) for name in MEASURES]
        + [_cost(group, name) for name in COSTS]
        for group in groups
    ]
    return head, rows


def results_markdown(study: Study, groups: Sequence[Group]) -> str:
    """That table as Markdown, under the question."""
    head, rows = results_table(study, groups)
    is_number = [name not in study.settings for name in head]
    table = markdown_table(list(map(escaped, head)), [list(map(escaped, row)) for row in rows], is_number)
    part = validation_parts([result.run for group in groups for result in group.results]).capitalize()
    return f"# {study.title}\n\n{part} accuracies in percent: mean and standard deviation of the runs.\n\n{table}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _accuracy(group: Group, name: str) -> str:
    mean, spread = group.mean(name), group.spread(name)
    if isnan(mean):
        return "–"
    return f"{100 * mean:.2f}" if isnan(spread) else f"{100 * mean:.2f} ± {100 * spread:.2f}"


def _cost(group: Group, name: str) -> str:
    mean = group.mean(name)
    return "–" if isnan(mean) else FORMATS[name].format(mean)
