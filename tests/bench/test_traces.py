"""Curation of traces against its definition in loops, planted and random traces, and bad input."""

import math
from statistics import mean

import numpy as np
import pytest
from scipy.stats import spearmanr

from convnn.bench.traces import COLUMNS, curate, selection_statistics, speedups, trace_statistics
from convnn.errors import InputError
from pairwise import sweep


def planted(effect: float, seed: int = 0, tasks: int = 60, samples: int = 5) -> dict[str, np.ndarray]:
    """Return traces of which short ones are more often right and faster, as much as the effect says."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(tasks), samples)
    difficulty = rng.normal(size=tasks)[task]
    log_length = 7 + effect * 0.5 * difficulty + 0.3 * rng.normal(size=task.size)
    inside = log_length - 7 - effect * 0.5 * difficulty
    chance = 1 / (1 + np.exp(effect * (difficulty + 2 * inside)))
    time = np.exp(0.3 * rng.normal(size=task.size) + effect * 0.5 * inside)
    order = rng.permutation(task.size)
    columns = {
        "task": task, "type": task % 3, "length": np.exp(log_length).round(-2).astype(int),
        "correct": (rng.random(task.size) < chance).astype(int), "reference_time": np.ones(task.size),
        "kernel_time": np.where(rng.random(task.size) < 0.1, -1, time.round(1)),
    }  # fmt: skip
    return {name: column[order] for name, column in columns.items()}


def by_definition(table, min_speedup, max_length, per_task, per_type) -> list[int]:
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    speed = [
        row["reference_time"] / row["kernel_time"] if row["correct"] and row["kernel_time"] > 0 else 0 for row in rows
    ]
    kept = [i for i, row in enumerate(rows) if speed[i] > min_speedup and row["length"] <= (max_length or math.inf)]
    for name, most, key in (
        ("task", per_task, lambda i: (rows[i]["length"], -speed[i], i)),
        ("type", per_type or len(rows), lambda i: (-speed[i], rows[i]["length"], i)),
    ):
        groups = {row[name]: sorted((i for i in kept if rows[i][name] == row[name]), key=key)[:most] for row in rows}
        kept = [i for group in groups.values() for i in group]
    return sorted(kept)


@sweep(min_speedup=[0.0, 1.0, 1.2], max_length=[None, 1100], per_task=[1, 2], per_type=[None, 1, 7, 1000])
def test_curate_is_its_definition(min_speedup, max_length, per_task, per_type) -> None:
    table = planted(1.0)
    settings = (min_speedup, max_length, per_task, per_type)
    names = ("min_speedup", "max_length", "per_task", "per_type")
    assert curate(table, **dict(zip(names, settings, strict=True))).tolist() == by_definition(table, *settings)


def test_the_order_of_traces_decides_only_ties() -> None:
    table = planted(1.0)
    table["length"] = table["length"] * 1000 + np.arange(len(table["length"]))  # no ties
    order = np.random.default_rng(1).permutation(len(table["task"]))
    shuffled = {name: column[order] for name, column in table.items()}
    assert sorted(order[curate(shuffled, per_type=9)]) == curate(table, per_type=9).tolist()


def test_edges() -> None:
    table = {
        "task": [5, 5, 5, 7, 8, 8, 8], "type": [0, 0, 0, 1, 0, 0, 0], "length": [10, 10, 10, 3, 9, 9, 2],
        "correct": [1, 1, 1, 0, 1, 1, 1], "reference_time": [2.0, 3, 3, 9, 1, 2, 5],
        "kernel_time": [1, 1, 1, 1, 1, 1, 0],
    }  # fmt: skip
    assert speedups(table).tolist() == [2, 3, 3, 0, 1, 2, 0]
    assert curate(table).tolist() == [1, 5]  # equally long: the fastest, then the first; exactly 1 is not above 1
    facts = trace_statistics(table, bins=1)
    assert facts["task_ids"].tolist() == [5, 7, 8]
    assert facts["best_speedup"].tolist() == [3, 0, 2]
    assert math.isnan(facts["shorter_fraction"])
    assert selection_statistics(table, curate(table))["type_counts"].tolist() == [2, 0]
    nothing = curate(table, min_speedup=100)
    assert nothing.tolist() == []
    assert math.isnan(selection_statistics(table, nothing)["selected_geomean_speedup"])


def test_statistics_are_their_definition() -> None:
    table = planted(1.0)
    facts = trace_statistics(table)
    assert facts["difficulty_spearman"] == pytest.approx(spearmanr(facts["mean_length"], facts["accuracy"]).statistic)
    bins: dict[int, list[int]] = {}
    for task in set(table["task"].tolist()):
        ranked = sorted(np.flatnonzero(table["task"] == task), key=lambda i: (table["length"][i], i))
        for rank, i in enumerate(ranked):
            bins.setdefault(rank * 5 // len(ranked), []).append(table["correct"][i])
    assert facts["accuracy_by_length"].tolist() == pytest.approx([mean(map(int, bins[b])) for b in range(5)])


def test_a_planted_effect_is_seen_and_no_effect_is_not() -> None:
    seen = [trace_statistics(planted(2.0, seed, tasks=300)) for seed in range(3)]
    none = [trace_statistics(planted(0.0, seed, tasks=300)) for seed in range(3)]
    for facts in seen:
        assert facts["accuracy_by_length"][0] > facts["accuracy_by_length"][-1] + 0.15
        assert facts["difficulty_spearman"] < -0.3
        assert facts["shorter_fraction"] > 0.6
    for facts in none:
        assert np.ptp(facts["accuracy_by_length"]) < 0.15
        assert abs(facts["difficulty_spearman"]) < 0.2
        assert 0.4 < facts["shorter_fraction"] < 0.6


@pytest.mark.parametrize("constant", ["length", "correct"])
def test_no_correlation_with_a_constant(constant: str) -> None:
    table = planted(1.0)
    table[constant] = np.ones_like(table[constant])
    assert math.isnan(trace_statistics(table)["difficulty_spearman"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("correct", 2, "correct=2 of trace 1 must be 0 or 1"),
        ("reference_time", 0.0, "reference_time=0.0 of trace 1 must be a number above 0"),
        ("length", -1, "length=-1 of trace 1 must be at least 0"),
        ("kernel_time", float("nan"), "kernel_time=nan of trace 1 must be a number"),
    ],
)
def test_bad_values(column: str, value: float, message: str) -> None:
    table = {name: np.ones(3) for name in COLUMNS}
    table[column] = np.array([1, value, 1])
    with pytest.raises(InputError, match=message):
        curate(table)


def test_bad_tables_and_settings() -> None:
    table = {name: np.ones(3) for name in COLUMNS}
    with pytest.raises(InputError, match="traces have no column 'type'"):
        curate({name: column for name, column in table.items() if name != "type"})
    with pytest.raises(InputError, match="column 'length' has shape"):
        curate(table | {"length": np.ones(2)})
    with pytest.raises(InputError, match="there are no traces"):
        curate({name: np.ones(0) for name in COLUMNS})
    for name, value in (("min_speedup", -1.0), ("min_speedup", math.nan), ("per_task", 0), ("per_type", 0)):
        with pytest.raises(InputError, match=f"{name}={value!r} must be at least"):
            curate(table, **{name: value})
    for bins in (0, 4):
        with pytest.raises(InputError, match=f"bins={bins} must be from 1 to 3, the fewest traces of a task"):
            trace_statistics(table, bins=bins)
