"""Differences paired by repetition, and their tables."""

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from convnn.errors import InputError
from convnn.runs.paired import paired_difference
from convnn.study import Study, group_results, read_results, read_study
from convnn.study.differences import differences_markdown
from run_folders import run_folder

STUDY = """
[flags]
num_epochs = 1

[[runs]]
layer = ["Conv2d"]
lr = [0.1, 0.2]
seed = [0, 1, 2]

[[runs]]
layer = ["Branching"]
branch_ratio = [0.25, 0.5]
lr = [0.1, 0.2]
seed = [0, 1, 2]

[[baselines]]
layer = "Conv2d"

[[baselines]]
layer = "Branching"
branch_ratio = 0.25
"""


def read(text: str, folder: Path) -> Study:
    (folder / "s.toml").write_text(text)
    return read_study(folder / "s.toml", folder=folder / "out")


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    ours, theirs = torch.rand(2, 7, dtype=torch.double, generator=torch.Generator().manual_seed(0)).tolist()
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found is not None
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx(tuple(expected), rel=1e-12)
    assert found.pairs == 7


def test_only_repetitions_known_in_both_are_paired() -> None:
    found = paired_difference({0: 0.5, 1: 0.7, 2: math.nan, 4: 0.9}, {0: 0.25, 1: math.nan, 2: 0.1, 3: 0.1})
    assert found is not None
    assert (found.mean, found.pairs) == (0.25, 1)
    assert math.isnan(found.margin)
    assert found.in_points() == "+25.00"
    assert paired_difference({0: 0.5}, {1: 0.5}) is None


def test_a_table_for_each_baseline_compares_what_agrees_in_the_other_settings(tmp_path: Path) -> None:
    study = read(STUDY, tmp_path)
    for run in study.runs:
        seed, is_branching = run.settings["seed"], run.settings["layer"] == "Branching"
        gain = (run.settings["lr"] + seed / 100 + run.settings["branch_ratio"] / 10) if is_branching else 0.0
        run_folder(run.folder, (0.3 + seed / 10 + gain,), **run.settings | {"num_epochs": 1})
    text = differences_markdown(study, group_results(study, read_results(study)))
    _, first, second = text.split("\nDifference from ")
    assert first.startswith("layer=Conv2d in points, paired by seed, with its 95% interval.\n\n")
    # Gains are lr + ratio / 10 + 0, 1 and 2 points: their mean is 1 point more, their margin 4.303 / sqrt(3).
    means = {("0.1", "0.25"): 13.5, ("0.2", "0.25"): 23.5, ("0.1", "0.5"): 16.0, ("0.2", "0.5"): 26.0}
    assert rows_of(first) == [
        ["Branching", *settings, "3", *[f"+{mean:.2f} [{mean - 2.484:.2f}, {mean + 2.484:.2f}]"] * 3]
        for settings, mean in means.items()
    ]
    assert [row[:4] for row in rows_of(second)] == [
        ["Conv2d", "0.1", "", "3"],
        ["Conv2d", "0.2", "", "3"],
        ["Branching", "0.1", "0.5", "3"],
        ["Branching", "0.2", "0.5", "3"],
    ]


def rows_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[4:]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('layer = "Conv2d"\n', 'layr = "Conv2d"\n', r"under \[\[baselines\]\] of study .*='layr' is not one of"),
        ('layer = "Conv2d"\n', 'layer = "ConvNN"\n', r"has the baseline \{'layer': 'ConvNN'\}, but no run with these"),
        ('layer = "Conv2d"\n', "", r"has the baseline \{\}, but no run"),
    ],
)
def test_a_baseline_that_is_no_setting_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(STUDY.replace(old, new), tmp_path)
