"""Pictures with any names, under any matplotlib settings."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure

from convnn.nn import ConvNN2d
from convnn.runs import read_runs
from convnn.study.definition import Plot
from convnn.study.plots import draw_plot
from convnn.study.results import Group
from convnn.viz import (
    draw_comparison,
    draw_curves,
    draw_neighbors,
    draw_statistics,
    find_neighbors,
    neighbor_statistics,
)
from convnn.viz.compare.page import comparison_page
from convnn.viz.compare.plot import comparison_figure
from convnn.viz.figure import write_plainly
from run_folders import run_folder

PNG = b"\x89PNG"
NAMES = ["$x", "_hidden", "$a$_b$", "caf\udce9"]


@pytest.fixture
def broken_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write a matplotlibrc that requests LaTeX, which is missing, and pictures too large for any memory."""
    monkeypatch.setenv("PATH", "")
    with matplotlib.rc_context({"text.usetex": True, "savefig.bbox": "tight", "savefig.pad_inches": 1e6}):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("broken_settings")
def test_settings_of_a_person_change_no_picture(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name) for name in ("one", "two")]
    runs = read_runs(folders)
    layer, image = ConvNN2d(3, 8, K=4), torch.rand(1, 3, 6, 6)
    drawn = [
        draw_curves(folders[0] / "metrics.csv", tmp_path / "curves.png"),
        draw_comparison(runs, tmp_path / "compare.png"),
        draw_statistics(neighbor_statistics(layer, [[image]]), tmp_path / "statistics.png", title="$x"),
        draw_neighbors(image[0], find_neighbors(layer, image), [(0, 0)], tmp_path / "neighbors.png", title="$x"),
        draw_plot(Plot("layer"), [], tmp_path / "plot.png"),
    ]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)
    assert "<svg" in comparison_page(runs)
    assert matplotlib.rcParams["text.usetex"], "a person's settings are as before"


def test_names_of_runs_are_shown_as_they_are(tmp_path: Path) -> None:
    runs = read_runs([run_folder(tmp_path / name, output_dir="runs") for name in NAMES])
    [legend] = comparison_figure(runs).legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted([*NAMES[:3], r"caf\udce9"])
    assert not any(text.get_parse_math() for text in legend.get_texts())
    assert draw_comparison(runs, tmp_path / "compare.png").read_bytes().startswith(PNG)


def test_values_of_a_study_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("convnn.study.plots.save_figure", lambda figure, path: figures.append(figure))
    groups = [Group({"where": where, "layer": name}, []) for where in ("$x", "_y") for name in ("$a$", "_b")]
    monkeypatch.setattr(Group, "mean", lambda self, name: 0.5)
    draw_plot(Plot("where", lines=("layer",), panels=("layer",)), groups, tmp_path / "plot.png")
    [figure] = figures
    [legend] = figure.legends
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert (ticks, titles) == (["$x", "_y"], ["$a$", "_b"])
    assert [text.get_text() for text in legend.get_texts()] == ["$a$", "_b"]
    words = [*legend.get_texts(), *figure.axes[0].get_xticklabels(), *(panel._left_title for panel in figure.axes)]
    assert not any(text.get_parse_math() for text in words)
    figure.savefig(tmp_path / "plot.png")


def test_a_dollar_begins_no_formula() -> None:
    figure = Figure()
    text = figure.text(0, 0, "")
    write_plainly(text, r"$\nonsense$")
    assert text.get_text() == r"$\nonsense$"
    figure.draw_without_rendering()
