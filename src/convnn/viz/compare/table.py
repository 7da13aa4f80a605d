"""Comparison of several runs: the columns of their table, and the table as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan, nan
from statistics import fmean, stdev

from convnn.errors import check_choice
from convnn.figures import Figure
from convnn.runs import Run, common_figure, metric_name
from convnn.runs.paired import paired_difference
from convnn.viz._sorted import Column

UNKNOWN = "–"
UNLIKE = Figure(is_share=False, decimals=4)
"""How metrics are written in one column that are not the same."""
OF_THE_FOLDER = ("output_dir", "resume", "overwrite", "checkpoint", "test_only")
"""Flags for the place and start of a run, which do not affect its results."""


def comparison(runs: Sequence[Run], against: str | None = None) -> list[Column]:
    """Return the columns of the comparison: name, differing flags, size, cost, accuracies; top-5 if any run has it.

    Args:
        runs: the runs, or means of runs.
        against: name of the run from which a column has the difference of every other one, paired by seed; None
            leaves the column out.

    Raises:
        InputError: no run is called `against`.
    """
    names, metric = [run.name for run in runs], metric_name(runs)
    columns = [Column("run", tuple(names), tuple(names), (False,) * len(runs), is_number=False)]
    columns += [_of_flag(name, runs) for name in different_flags(runs)]
    columns += [
        _of_numbers("parameters", [run.parameters for run in runs], "{:,.0f}".format, None),
        _of_numbers("GFLOPs", [run.gflops for run in runs], "{:.3g}".format, None),
        *_of_repeats(runs),
        *_of_parts(runs),
        _of_accuracies(f"best {metric}", runs, _best),
        *_of_differences(runs, against),
        _of_numbers("its epoch", [run.at(run.best, "epoch") for run in runs], "{:g}".format, None),
        _of_numbers("its top-5", [run.validation(run.best, "top5") for run in runs], "{:.2%}".format, max),
        *_of_tests(runs),
        _of_accuracies(f"last {metric}", runs, lambda run: run.values[-1]),
        _of_epochs(runs),
        _of_numbers("s/epoch", [run.seconds for run in runs], "{:.3g}".format, min),
    ]
    return [column for column in columns if column.heading != "its top-5" or set(column.cells) != {UNKNOWN}]


def different_flags(runs: Sequence[Run]) -> list[str]:
    """Return the flags whose values differ between the runs, in the order of their files."""
    names = dict.fromkeys(name for run in runs for name in run.flags if name not in OF_THE_FOLDER)
    return [name for name in names if len({run.flags.get(name) for run in runs}) > 1]


def _of_repeats(runs: Sequence[Run]) -> list[Column]:
    """Return a column with the number of averaged runs, if any run is a mean."""
    if not any(run.repeats for run in runs):
        return []
    return [_of_numbers("runs", [float(max(1, len(run.repeats))) for run in runs], "{:g}".format, None)]


def _of_accuracies(heading: str, runs: Sequence[Run], value: Callable[[Run], float]) -> Column:
    """Return a column with a metric ± its standard deviation; the best is marked only if it is clearly best."""
    found = [[v for repeat in (run.repeats or (run,)) if not isnan(v := value(repeat))] for run in runs]
    means = [fmean(values) if values else nan for values in found]
    spreads = [stdev(values) if len(values) > 1 else 0.0 for values in found]
    column, figure = _of_metric(heading, runs, means), common_figure(runs) or UNLIKE
    cells = [
        f"{cell.removesuffix('%')} ± {figure.text(spread)}" if spread else cell
        for cell, spread in zip(column.cells, spreads, strict=True)
    ]
    is_clear = _is_clear([figure.merit(mean) for mean in means], spreads)
    return replace(column, cells=tuple(cells), best=column.best if is_clear else (False,) * len(runs))


def _of_metric(heading: str, runs: Sequence[Run], values: Sequence[float]) -> Column:
    """Return a column with a value of the metric of each run; none is best where they have different metrics."""
    figure = common_figure(runs)
    better = None if figure is None else max if figure.more_is_better else min
    return _of_numbers(heading, values, (figure or UNLIKE).text, better)


def _best(run: Run) -> float:
    return run.validation(run.best, run.metric)


def _of_differences(runs: Sequence[Run], against: str | None) -> list[Column]:
    """Return a column with the difference of each best accuracy from that of a run, if one is named."""
    if against is None:
        return []
    check_choice("--against", against, [run.name for run in runs])
    (baseline,) = (_by_seed(run) for run in runs if run.name == against)
    found = [None if run.name == against else paired_difference(_by_seed(run), baseline) for run in runs]
    figure = common_figure(runs) or UNLIKE
    cells = tuple(UNKNOWN if one is None else one.in_points(figure) for one in found)
    keys = tuple(nan if one is None else one.mean for one in found)
    return [Column(f"less {against}", cells, keys, (False,) * len(runs), is_number=True)]


def _by_seed(run: Run) -> dict[str | None, float]:
    return {repeat.flags.get("seed"): _best(repeat) for repeat in run.repeats or (run,)}


def _is_clear(means: Sequence[float], spreads: Sequence[float]) -> bool:
    """Return whether the best mean exceeds the next by more than the standard deviation of either."""
    ranked = sorted((pair for pair in zip(means, spreads, strict=True) if not isnan(pair[0])), reverse=True)
    if len(ranked) < 2:
        return False
    (best, its_spread), (next_best, next_spread) = ranked[:2]
    return best - next_best > max(its_spread, next_spread) or not (its_spread or next_spread)


def _of_parts(runs: Sequence[Run]) -> list[Column]:
    """Return a column with the evaluated part, if it is not test for all runs."""
    parts = tuple(run.validation_part for run in runs)
    return [Column("measured on", parts, parts, (False,) * len(runs), is_number=False)] if "val" in parts else []


def _of_tests(runs: Sequence[Run]) -> list[Column]:
    """Return a column with the test accuracy of the best epoch, if a run chose that epoch by val."""
    if all(run.validation_part == "test" for run in runs):
        return []
    tests = [run.at(run.best, f"test_{run.metric}") for run in runs]
    return [_of_metric(f"its test {metric_name(runs)}", runs, tests)]


def _of_flag(name: str, runs: Sequence[Run]) -> Column:
    values = [run.flags.get(name, UNKNOWN) for run in runs]
    numbers = [_as_number(value) for value in values]
    is_number = not any(number is None for number in numbers)
    keys = tuple(nan if number is None else number for number in numbers) if is_number else tuple(values)
    return Column(name, tuple(values), keys, (False,) * len(runs), is_number)


def _as_number(text: str) -> float | None:
    """Parse a number; return NaN for a placeholder and None for other text."""
    if text in (UNKNOWN, "None"):
        return nan
    try:
        return float(text)
    except ValueError:
        return None


def _of_numbers(
    heading: str, values: Sequence[float], show: Callable[[float], str], better: Callable[..., float] | None
) -> Column:
    known = [value for value in values if not isnan(value)]
    best = better(known) if better is not None and len(set(known)) > 1 else None
    cells = tuple(UNKNOWN if isnan(value) else show(value) for value in values)
    return Column(heading, cells, tuple(values), tuple(value == best for value in values), is_number=True)


def _has_lost_patience(run: Run) -> bool:
    patience = run.flags.get("patience", "")
    return patience.isdecimal() and run.at(-1, "epoch") - run.at(run.best, "epoch") >= int(patience)


def _of_epochs(runs: Sequence[Run]) -> Column:
    """Return a column with the number of finished epochs, and the planned number for unfinished runs."""
    done, cells = [run.at(-1, "epoch") for run in runs], []
    for run, epochs in zip(runs, done, strict=True):
        planned = run.flags.get("num_epochs", "")
        is_going = planned.isdecimal() and epochs < int(planned) and not _has_lost_patience(run)
        cells.append(f"{epochs:g} of {planned}" if is_going else f"{epochs:g}")
    return Column("epochs", tuple(cells), tuple(done), (False,) * len(runs), is_number=True)
