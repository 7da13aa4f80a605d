"""Tables and pictures of synthetic runs."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from convnn.errors import InputError
from convnn.nn import list_layers
from convnn.study import (
    Group,
    Plot,
    Result,
    Study,
    draw_plot,
    group_results,
    plots,
    read_result,
    read_results,
    read_study,
    sweep,
)
from convnn.study.plots import draw_loss_curves
from convnn.study.results import results_csv, results_markdown
from pairwise import one_in
from run_folders import run_folder

STUDY = """
title = "K | and layer"

[flags]
model = "vgg11"
num_epochs = 3

[[runs]]
layer = ["ConvNN", "Branching"]
K = [4, 9]
seed = [0, 1, 2]

[[plots]]
x = "K"
lines = ["layer"]

[[plots]]
x = "layer"
panels = ["K"]

[[plots]]
x = "gflops"
y = "average"
lines = ["layer"]
"""


def accuracies(number: int) -> list[float]:
    return np.random.default_rng(number).uniform(size=3).tolist()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Write the runs of a study: the last has not started, and the one before is in its second epoch."""
    path = tmp_path / "question.toml"
    path.write_text(STUDY)
    study = read_study(path, folder=tmp_path / "out")
    for number, run in enumerate(study.runs[:-1]):
        values = accuracies(number)[: 2 if number == 10 else 3]
        run_folder(run.folder, values, seconds=number + 1, **run.settings)
    return study


def groups_of(study: Study) -> list[Group]:
    return group_results(study, read_results(study))


def test_only_finished_runs_are_counted_and_repetitions_are_one_group(study: Study) -> None:
    results = read_results(study)
    assert [one.planned for one in results] == list(study.runs[:-1])
    assert [one.is_finished for one in results] == [True] * 10 + [False]
    groups = groups_of(study)
    assert [(g.settings["layer"], g.settings["K"], len(g.results)) for g in groups] == [
        ("ConvNN", 4, 3), ("ConvNN", 9, 3), ("Branching", 4, 3), ("Branching", 9, 1)
    ]  # fmt: skip


def test_means_and_spreads(study: Study) -> None:
    for number, group in enumerate(groups_of(study)[:3]):
        runs = np.array([accuracies(3 * number + seed) for seed in range(3)])
        for name, values in (("best", runs.max(1)), ("last", runs[:, -1]), ("average", runs.mean(1))):
            assert group.mean(name) == pytest.approx(values.mean(), rel=1e-12)
            assert group.spread(name) == pytest.approx(values.std(ddof=1), rel=1e-12)
        assert group.mean("seconds") == 3 * number + 2
        assert np.allclose(group.mean_run.curves["test_top1"], runs.mean(0))
    assert math.isnan(groups_of(study)[3].spread("best"))


def test_the_average_is_of_the_last_five_epochs(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[flags]\nnum_epochs = 7\n[[runs]]\nK = [9]\n")
    study = read_study(tmp_path / "s.toml", folder=tmp_path)
    run_folder(study.runs[0].folder, (0.9, 0.8, 0.1, 0.2, 0.3, 0.4, 0.5), num_epochs=7)
    result = read_result(study.runs[0])
    assert result is not None
    assert result.value("average") == pytest.approx(0.3)
    assert result.value("best") == 0.9


@pytest.mark.parametrize(
    ("epochs", "words"), [((2, 2), "mean of last 2"), ((5, 7), "mean of last 5"), ((1, 5), "mean of last 1 to 5")]
)
def test_the_heading_says_over_how_many_epochs_the_mean_is(
    epochs: tuple[int, int], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = one_run(tmp_path, num_epochs=min(epochs), K="[4, 9]")
    for run, count in zip(study.runs, epochs, strict=True):
        run_folder(run.folder, [0.5] * count, num_epochs=count, K=run.config.K)
    groups = groups_of(study)
    assert f"| {words} |" in results_markdown(study, groups)
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    draw_plot(Plot("K", "average"), groups, "unused.png")
    assert figures[0].axes[0].get_ylabel() == f"{words}, %"


def one_run(folder: Path, *, num_epochs: int, scheduler: str = "none", K: str = "[9]") -> Study:
    text = f'[flags]\nmodel = "vgg11"\nnum_epochs = {num_epochs}\nscheduler = "{scheduler}"\n[[runs]]\nK = {K}\n'
    (folder / "s.toml").write_text(text)
    return read_study(folder / "s.toml", folder=folder / "out")


@pytest.mark.parametrize(("wanted", "is_finished"), [(2, True), (3, True), (4, False)])
def test_a_run_is_finished_when_it_has_the_epochs_that_the_study_asks_for(
    wanted: int, is_finished: bool, tmp_path: Path
) -> None:
    study = one_run(tmp_path, num_epochs=wanted)
    run_folder(study.runs[0].folder, num_epochs=3)
    (result,) = read_results(study)
    assert result.is_finished == is_finished
    assert len(groups_of(study)) == is_finished


@pytest.mark.parametrize("wanted", [2, 4])
def test_under_the_cosine_a_run_of_other_epochs_is_another_run(wanted: int, tmp_path: Path) -> None:
    study = one_run(tmp_path, num_epochs=wanted, scheduler="cosine")
    run_folder(study.runs[0].folder, num_epochs=3, scheduler="cosine")
    with pytest.raises(InputError, match=f"was run with num_epochs=3, but the study has {wanted}"):
        read_results(study)


def test_whoever_writes_last_writes_the_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a run that another sweep finishes between this one's check and its writing."""
    study = one_run(tmp_path, num_epochs=3, K="[4, 9]")
    first, second = study.runs
    run_folder(first.folder, K=4)

    def results_and_another(study: Study, results: Sequence[Result]) -> str:
        if not second.folder.exists():
            run_folder(second.folder, K=9)
        return results_csv(study, results)

    monkeypatch.setattr(sweep, "results_csv", results_and_another)
    monkeypatch.setattr(sweep, "draw_loss_curves", lambda *_: None)
    sweep.Sweep(study, []).write_results()
    assert len((study.folder / "results.csv").read_text().splitlines()) == 3
    assert len(re.findall(r"^\| [49] \| 1 \|", (study.folder / "results.md").read_text(), re.MULTILINE)) == 2


def test_runs_of_many_settings_are_found_again(tmp_path: Path) -> None:
    values = ", ".join(f"'{'x' * length}'" for length in (190, 195))
    (tmp_path / "s.toml").write_text(f"[flags]\nnum_epochs = 3\n[[runs]]\ndata_path = [{values}]\n")
    study = read_study(tmp_path / "s.toml", folder=tmp_path / "out")
    for run in study.runs:
        run_folder(run.folder)
    again = read_study(tmp_path / "s.toml", folder=tmp_path / "out")
    assert [one.planned.name for one in read_results(again)] == [run.name for run in study.runs]


def test_csv_holds_every_run_that_has_begun(study: Study) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(study, read_results(study)))))
    assert [row["run"] for row in rows] == [run.name for run in study.runs[:-1]]
    assert [(row["layer"], row["K"], row["seed"]) for row in rows[:4]] == [
        ("ConvNN", "4", "0"), ("ConvNN", "4", "1"), ("ConvNN", "4", "2"), ("ConvNN", "9", "0")
    ]  # fmt: skip
    assert [float(row["best"]) for row in rows[:10]] == [max(accuracies(number)) for number in range(10)]
    assert rows[10]["epochs"] == "2"


def test_markdown_says_mean_and_spread(study: Study) -> None:
    lines = results_markdown(study, groups_of(study)).splitlines()
    best = np.array([max(accuracies(seed)) for seed in range(3)])
    assert lines[0] == "# K | and layer"
    assert lines[-4].startswith(f"| ConvNN | 4 | 3 | {100 * best.mean():.2f} ± {100 * best.std(ddof=1):.2f} |")
    assert f"| Branching | 9 | 1 | {100 * max(accuracies(9)):.2f} |" in lines[-1]


def test_a_run_with_other_flags_is_refused(study: Study) -> None:
    folder = study.runs[0].folder
    arguments = folder / "args.txt"
    arguments.write_text(arguments.read_text().replace("K: 4", "K: 5"))
    with pytest.raises(InputError, match="was run with K=5, but the study has 4; remove that folder, or give"):
        read_results(study)


@pytest.mark.parametrize("flag", ["num_samples", "dropout", "lr"])
def test_a_flag_that_is_read_must_be_the_same(study: Study, flag: str) -> None:
    arguments = study.runs[0].folder / "args.txt"
    arguments.write_text(f"{flag}: 99\n{arguments.read_text()}")
    with pytest.raises(InputError, match=f"was run with {flag}=99"):
        read_results(study)


@pytest.mark.parametrize("flag", ["step", "patch_size"])
def test_a_flag_that_nothing_reads_may_have_had_another_value(study: Study, flag: str) -> None:
    arguments = study.runs[0].folder / "args.txt"
    arguments.write_text(f"{flag}: 99\n{arguments.read_text()}")
    assert len(read_results(study)) == len(study.runs) - 1


@pytest.mark.slow
@pytest.mark.parametrize("number", one_in(3, range(3)))
def test_pictures_show_every_group(study: Study, number: int, tmp_path: Path) -> None:
    plot, groups = study.plots[number], groups_of(study)
    pictures = [
        matplotlib.image.imread(draw_plot(plot, groups[:count], tmp_path / f"{count}.png"))
        for count in range(1, len(groups) + 1)
    ]
    for less, more in pairwise(pictures):
        assert less.shape != more.shape or np.abs(less - more).max() > 0.5
    assert draw_loss_curves(groups, tmp_path / "curves.png").stat().st_size > 10_000


def test_an_axis_of_whole_numbers_shows_whole_numbers(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    group = groups_of(study)[0]
    draw_plot(Plot("K"), [replace(group, settings={"layer": "ConvNN", "K": K}) for K in (1, 2, 3)], "unused.png")
    assert [tick for tick in figures[0].axes[0].get_xticks() if tick % 1] == []


@pytest.mark.parametrize("count", [1, 4, 7, 12])
def test_words_along_an_axis_do_not_touch(count: int, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    group = groups_of(study)[0]
    groups = [replace(group, settings={"layer": name, "K": 9}) for name in list_layers("maps")[:count]]
    draw_plot(Plot("layer"), groups, "unused.png")
    figures[0].canvas.draw()
    labels = figures[0].axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == [one.settings["layer"] for one in groups]
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes)) or labels[0].get_rotation() > 0
    assert (labels[0].get_rotation() > 0) == (count > 4)


def test_runs_of_three_parts_are_judged_by_val(study: Study) -> None:
    for run in study.runs[:-1]:
        head, *rows = (run.folder / "metrics.csv").read_text().splitlines()
        head = head.replace("test", "val") + ",test_loss,test_top1,test_top5"
        (run.folder / "metrics.csv").write_text("\n".join([head, *(row + ",,," for row in rows)]) + "\n")
    result = read_result(study.runs[0])
    assert (result.value("best"), result.value("last")) == (max(accuracies(0)), accuracies(0)[-1])
    groups = group_results(study, read_results(study))
    assert groups[0].mean_run.validation_part == "val"
    assert "\n\nVal and test accuracies in percent: mean and standard deviation" in results_markdown(study, groups)
