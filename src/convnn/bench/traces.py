"""Curation of reasoning traces that end in kernels: keep what is right, fast and concise, and measure all of them.

Reference:
    Kong et al., "ConCuR: Conciseness Makes State-of-the-Art Kernel Generation", arXiv 2510.07356. Its thresholds are
    not published; the rules here are the simplest that its text allows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convnn.errors import InputError

COLUMNS = ("task", "type", "length", "correct", "reference_time", "kernel_time")
"""What a trace says: its task and the class of that task, the tokens of its reasoning, whether its kernel is right, and
the times of the definition and of the kernel, which is not positive where it was never timed."""

Table = Mapping[str, ArrayLike]
Columns = dict[str, NDArray[Any]]


def speedups(traces: Table) -> NDArray[np.float64]:
    """Return how many times as fast each kernel is as the definition; 0 where it is wrong or was never timed.

    Raises:
        InputError: a column is missing, or a value is out of range.
    """
    table = check_traces(traces)
    is_timed = (table["correct"] == 1) & (table["kernel_time"] > 0)
    times = np.where(is_timed, table["kernel_time"], 1.0)
    return np.where(is_timed, table["reference_time"] / times, 0.0)


def curate(
    traces: Table,
    *,
    min_speedup: float = 1.0,
    max_length: int | None = None,
    per_task: int = 1,
    per_type: int | None = None,
) -> NDArray[np.int64]:
    """Return the indices of the traces to learn from, ascending.

    A trace is eligible if its kernel is right and more than `min_speedup` times as fast as the definition. Of the
    eligible traces of a task the shortest are kept, of equally long ones the fastest; then, of those of a type, the
    fastest, of equally fast ones the shortest. What is still equal is taken by lowest index.

    Args:
        traces: (N,) columns `COLUMNS`. Curate only what a harness has accepted: a cheat that is kept poisons the set.
        min_speedup: speed-up that must be exceeded.
        max_length: longest reasoning in tokens, None for any.
        per_task: most traces of a task.
        per_type: most traces of a type, None for all.

    Raises:
        InputError: a column is missing or has another length, or a value is out of range.
    """
    _check_settings(min_speedup, max_length, per_task, per_type)
    table, speed = check_traces(traces), speedups(traces)
    length, index = table["length"], np.arange(len(speed))
    is_eligible = speed > min_speedup
    if max_length is not None:
        is_eligible &= length <= max_length
    kept = index[is_eligible]
    kept = _first_of_each(kept[np.lexsort((kept, -speed[kept], length[kept]))], table["task"], per_task)
    if per_type is not None:
        kept = _first_of_each(kept[np.lexsort((kept, length[kept], -speed[kept]))], table["type"], per_type)
    return np.sort(kept)


def trace_statistics(traces: Table, *, bins: int = 5) -> dict[str, NDArray[Any] | float]:
    """Return what the traces show before any is selected: a selection by length cannot show that short ones are better.

    Lengths are compared inside of a task: over tasks, they measure its difficulty.

    Returns:
        `task_ids` ascending, and for each task `mean_length`, `accuracy` and `best_speedup`. `length_gap`, for tasks
        with right and wrong traces, the mean length of the right less that of the wrong, and `shorter_fraction`, the
        share of these tasks with a negative one. `accuracy_by_length` and `fast_1_by_length`, the share that is right,
        and the share that is faster than the definition, in each of `bins` bins of ranks of length inside of a task.
        `difficulty_spearman`, the rank correlation of mean length and accuracy over tasks, NaN if one is constant.

    Raises:
        InputError: a column is missing or has another length, a value is out of range, or a task has fewer traces than
            there are bins.
    """
    table, speed = check_traces(traces), speedups(traces)
    task, length, correct = table["task"], table["length"].astype(float), table["correct"].astype(float)
    ids, of_task, counts = np.unique(task, return_inverse=True, return_counts=True)
    if not isinstance(bins, int) or not 1 <= bins <= counts.min():
        raise InputError(f"bins={bins!r} must be from 1 to {counts.min()}, the fewest traces of a task")
    best = np.zeros(len(ids))
    np.maximum.at(best, of_task, speed)
    right, wrong = np.bincount(of_task, correct), np.bincount(of_task, 1 - correct)
    is_mixed = (right > 0) & (wrong > 0)
    lengths_of = [np.bincount(of_task, length * one)[is_mixed] for one in (correct, 1 - correct)]
    gap = lengths_of[0] / right[is_mixed] - lengths_of[1] / wrong[is_mixed]
    bin_of = _rank_in_task(of_task, length, counts) * bins // counts[of_task]
    in_bin = np.bincount(bin_of, minlength=bins)
    mean_length, accuracy = np.bincount(of_task, length) / counts, right / counts
    return {
        "task_ids": ids,
        "mean_length": mean_length,
        "accuracy": accuracy,
        "best_speedup": best,
        "length_gap": gap,
        "shorter_fraction": float(np.mean(gap < 0)) if gap.size else float("nan"),
        "accuracy_by_length": np.bincount(bin_of, correct, bins) / in_bin,
        "fast_1_by_length": np.bincount(bin_of, speed > 1, bins) / in_bin,
        "difficulty_spearman": _spearman(mean_length, accuracy),
    }


def selection_statistics(traces: Table, selected: NDArray[np.int64]) -> dict[str, NDArray[Any] | float]:
    """Return mean length, geometric mean of the speed-ups (NaN of nothing), and how many there are of each type."""
    table, speed = check_traces(traces), speedups(traces)
    types, of_type = np.unique(table["type"], return_inverse=True)
    some = len(selected) > 0
    return {
        "selected_mean_length": float(table["length"][selected].mean()) if some else float("nan"),
        "selected_geomean_speedup": float(np.exp(np.log(speed[selected]).mean())) if some else float("nan"),
        "type_counts": np.bincount(of_type[selected], minlength=len(types)),
    }


def check_traces(traces: Table) -> Columns:
    """Return the columns as arrays.

    Raises:
        InputError: one is missing, empty or of another length, or a value is out of range.
    """
    if missing := [name for name in COLUMNS if name not in traces]:
        raise InputError(f"traces have no column {missing[0]!r}; they need {', '.join(COLUMNS)}")
    table = {name: np.asarray(traces[name]) for name in COLUMNS}
    count = len(table["task"]) if table["task"].ndim == 1 else -1
    for name, column in table.items():
        if column.shape != (count,):
            raise InputError(f"column {name!r} has shape {column.shape}; all columns must have one length, as task has")
    if count == 0:
        raise InputError("there are no traces; give at least one")
    for name, is_right, rule in (
        ("length", lambda x: x >= 0, "at least 0"),
        ("correct", lambda x: (x == 0) | (x == 1), "0 or 1"),
        ("reference_time", lambda x: (x > 0) & np.isfinite(x), "a number above 0"),
        ("kernel_time", lambda x: ~np.isnan(x), "a number, not above 0 if the kernel was never timed"),
    ):
        if (wrong := ~is_right(table[name])).any():
            at = int(wrong.argmax())
            raise InputError(f"{name}={table[name][at]} of trace {at} must be {rule}")
    return table


def _check_settings(min_speedup: float, max_length: int | None, per_task: int, per_type: int | None) -> None:
    for name, value, least in (
        ("min_speedup", min_speedup, 0),
        ("max_length", max_length, 0),
        ("per_task", per_task, 1),
        ("per_type", per_type, 1),
    ):
        if value is not None and not value >= least:
            raise InputError(f"{name}={value!r} must be at least {least}")


def _first_of_each(order: NDArray[np.int64], groups: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Return the first few of each group of what is in order, still in order."""
    seen: dict[Any, int] = {}
    kept = []
    for index in order.tolist():
        group = groups[index].item()
        seen[group] = seen.get(group, 0) + 1
        if seen[group] <= most:
            kept.append(index)
    return np.array(kept, dtype=np.int64)


def _rank_in_task(of_task: NDArray[np.int64], length: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of each trace among those of its task, by length and then by index."""
    order = np.lexsort((length, of_task))  # stable
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - starts[of_task[order]]
    return ranks


def _spearman(x: NDArray[Any], y: NDArray[Any]) -> float:
    from scipy.stats import spearmanr

    is_constant = (x == x[0]).all() or (y == y[0]).all()
    return float("nan") if is_constant else float(spearmanr(x, y).statistic)
