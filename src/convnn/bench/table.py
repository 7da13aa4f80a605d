"""Tables of results: a row for each candidate at each task, and one for each candidate over all tasks."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, isnan, nan
from typing import Any

from convnn.bench.run import Result
from convnn.bench.scores import THRESHOLDS, fast_p, geometric_mean_speedup, not_timed
from convnn.viz._sorted import Column, columns_markdown

UNKNOWN = "–"


@dataclass(frozen=True)
class Summary:
    """A candidate over all tasks that it computes.

    Attributes:
        candidate: its name.
        tasks: how many it computes, or tries to.
        correct: how many it computes right.
        fast: fast_p for each of `scores.THRESHOLDS`.
        speedup: the geometric mean of the speed-ups where it is right.
        not_timed: how many it computes right and was not timed at.
    """

    candidate: str
    tasks: int
    correct: int
    fast: dict[float, float]
    speedup: float
    not_timed: int

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"fast": {f"{p:g}": share for p, share in self.fast.items()}}


def summaries(results: Sequence[Result]) -> list[Summary]:
    """Return a summary for each candidate, in the order in which they come."""
    return [_summary(name, results) for name in dict.fromkeys(result.candidate for result in results)]


def summary_columns(found: Sequence[Summary]) -> list[Column]:
    """Return the table of the candidates."""
    columns = [
        _text("candidate", [one.candidate for one in found]),
        _numbers("tasks", [one.tasks for one in found], "{:.0f}".format),
        _numbers("right", [one.correct for one in found], "{:.0f}".format),
    ]
    columns += [_numbers(f"> {p:g}x", [one.fast[p] for one in found], "{:.0%}".format) for p in THRESHOLDS if p]
    speedups = [one.speedup or nan for one in found]
    return [*columns, _numbers("mean speed-up", speedups, "{:.2f}".format, max)]


def result_columns(results: Sequence[Result]) -> list[Column]:
    """Return the table of the results; the speed-up is bold where it is the best of its task."""
    timings = [result.timing for result in results]
    speedups = [nan if timing is None else timing.speedup for timing in timings]
    best = [_is_best(result, speedups[i], results) for i, result in enumerate(results)]
    speed = _numbers("speed-up", speedups, "{:.2f}".format)
    return [
        _text("task", [result.task for result in results]),
        _text("candidate", [result.candidate for result in results]),
        _text("verdict", [verdict_of(result) for result in results]),
        _numbers("cases", [result.verdict.num_cases for result in results], "{:.0f}".format),
        _numbers("error / tolerated", [_error(result) for result in results], "{:.2f}".format),
        _numbers("definition, ms", [nan if t is None else t.baseline.median for t in timings], "{:.3g}".format),
        _numbers("candidate, ms", [nan if t is None else t.runtime.median for t in timings], "{:.3g}".format),
        Column(speed.heading, speed.cells, speed.keys, tuple(best), is_number=True),
        _numbers("peak, MB", [nan if t is None else t.megabytes for t in timings], "{:.1f}".format),
        _text("look at", [looked_at(result) for result in results]),
    ]


def verdict_of(result: Result) -> str:
    """Return the verdict in words."""
    if result.is_unsupported:
        return "not computed"
    return "right" if result.verdict.correct else f"wrong: {result.verdict.reason}"


def looked_at(result: Result) -> str:
    """Return what a reader should look at: the detail of a refusal, static checks, a speed-up that is too good."""
    words = [result.verdict.detail] if result.verdict.detail else []
    words += [f"its source: {', '.join(result.warnings)}"] if result.warnings else []
    words += ["a speed-up above 10"] if result.timing is not None and result.timing.is_excessive else []
    skipped = len(result.verdict.unsupported)
    words += [f"{skipped} of the cases not computed"] if skipped else []
    return "; ".join(words)


def markdown(results: Sequence[Result]) -> str:
    """Return both tables as Markdown."""
    return columns_markdown(summary_columns(summaries(results))) + "\n" + columns_markdown(result_columns(results))


def _summary(name: str, results: Sequence[Result]) -> Summary:
    own = [one for one in results if one.candidate == name and not one.is_unsupported]
    correct = [one.verdict.correct for one in own]
    baseline = [one.timing.baseline.median if one.timing else nan for one in own]
    runtime = [one.timing.runtime.median if one.timing else nan for one in own]
    fast = {p: fast_p(correct, baseline, runtime, p) for p in THRESHOLDS}
    mean = geometric_mean_speedup(correct, baseline, runtime)
    return Summary(name, len(own), sum(correct), fast, mean, not_timed(correct, runtime))


def _is_best(result: Result, speedup: float, results: Sequence[Result]) -> bool:
    others = [one.timing.speedup for one in results if one.task == result.task and one.timing]
    return len(others) > 1 and speedup == max(others)


def _error(result: Result) -> float:
    worst = result.verdict.max_difference
    return worst if result.verdict.correct and isfinite(worst) else nan


def _text(heading: str, cells: Sequence[str]) -> Column:
    return Column(heading, tuple(cells), tuple(cells), (False,) * len(cells), is_number=False)


def _numbers(
    heading: str,
    values: Sequence[float],
    show: Callable[[float], str],
    better: Callable[..., float] | None = None,
) -> Column:
    known = [value for value in values if not isnan(value)]
    best = better(known) if better is not None and len(set(known)) > 1 else None
    cells = tuple(UNKNOWN if isnan(value) else show(value) for value in values)
    return Column(heading, cells, tuple(map(float, values)), tuple(value == best for value in values), is_number=True)
