"""The picture of a training run."""

import itertools

import matplotlib.image
import numpy as np
import pytest

from convnn.errors import InputError, OutputError
from convnn.viz import curves, draw_curves

HEAD = "epoch,time,train_loss,train_top1,train_top5,test_loss,test_top1,test_top5,lr,images_per_second"
ROWS = [
    "1,9.5,2.1,20,60,2.0,25,70,0.1,800",
    "2,9.5,1.5,45,80,1.6,48,81,0.05,800",
    "3,9.5,1.2,55,88,1.5,47,80,0.001,800",
]


def table(folder, rows, head=HEAD):
    path = folder / "metrics.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def draw(folder, rows, head=HEAD):
    return matplotlib.image.imread(draw_curves(table(folder, rows, head), folder / "curves.png"))


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("usual"), ROWS)


def test_writes_a_png_and_nothing_else(tmp_path):
    (tmp_path / "pictures").mkdir()
    path = draw_curves(str(table(tmp_path, ROWS)), str(tmp_path / "pictures" / "curves.png"))
    assert path == tmp_path / "pictures" / "curves.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_gone_does_not_come_back(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        draw_curves(table(tmp_path, ROWS), tmp_path / "gone" / "curves.png")
    assert not (tmp_path / "gone").exists()


@pytest.mark.slow
def test_one_epoch_is_visible(tmp_path):
    one = draw(tmp_path, ROWS[:1])
    empty = draw(tmp_path, ["1" + "," * 9])
    assert (one != empty).any()
    for color in (curves.TRAIN, curves.TEST):
        rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (np.abs(one[..., :3] - rgb).max(axis=2) < 0.01).sum() > 50


@pytest.mark.slow
@pytest.mark.parametrize("column", [2, 3, 5, 6, 8])
def test_every_drawn_column_changes_the_picture(usual, tmp_path, column):
    values = ROWS[1].split(",")
    values[column] = str(float(values[column]) * 0.7)
    assert (usual != draw(tmp_path, [ROWS[0], ",".join(values), ROWS[2]])).any()


@pytest.mark.slow
def test_other_columns_and_their_order_do_not(usual, tmp_path):
    reordered = ["0.1,1,,2.1,20,2.0,25,more", "0.05,2,,1.5,45,1.6,48,more", "0.001,3,,1.2,55,1.5,47,more"]
    head = "lr,epoch,time,train_loss,train_top1,test_loss,test_top1,note"
    assert np.array_equal(usual, draw(tmp_path, reordered, head))


def test_best_epoch_is_marked_where_the_test_is_best():
    from matplotlib.figure import Figure

    panel = Figure().subplots()
    curves._mark_best(panel, {"epoch": [1, 2, 3, 4], "test_top1": [0.25, float("nan"), 0.485, 0.47]})
    assert panel.get_title(loc="right") == "best test 48.50% at epoch 3"


@pytest.mark.parametrize(("tested", "shown"), [("0.44", True), ("", False)])
def test_val_is_drawn_where_it_chooses_the_best_epoch(tmp_path, tested, shown):
    head = "epoch,train_loss,train_top1,val_loss,val_top1,val_top5,test_loss,test_top1,lr"
    rows = ["1,2.0,0.3,2.1,0.25,0.9,,,0.1", f"2,1.5,0.4,1.9,0.48,0.9,1.8,{tested},0.1", "3,1.2,0.5,2.0,0.45,0.9,,,0.1"]
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("\n".join([head, *rows]) + "\n")
    text = curves.draw_curves(metrics, tmp_path / "curves.svg").read_text()
    assert "<!-- best val 48.00% at epoch 2" in text
    assert ("test 44.00%" in text) is shown
    assert "<!-- val -->" in text
    assert "<!-- test -->" not in text


@pytest.mark.slow
def test_empty_values_are_bridged(tmp_path):
    gap = [ROWS[0], "2,9.5,1.5,45,80,,,,0.05,", ROWS[2]]
    straight = [ROWS[0], "2,9.5,1.5,45,80,1.75,36,,0.05,", ROWS[2]]
    assert np.abs(draw(tmp_path, gap) - draw(tmp_path, straight)).mean() < 1e-3


@pytest.mark.parametrize("column", curves.COLUMNS)
def test_missing_column_is_named(tmp_path, column):
    head = HEAD.replace(column, "renamed", 1)
    with pytest.raises(InputError, match=f"metrics.csv' lacks the column '{column}'"):
        draw(tmp_path, ROWS, head)


def test_wrong_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.csv' does not exist"):
        draw_curves(tmp_path / "nowhere.csv", tmp_path / "curves.png")
    with pytest.raises(InputError, match=r"metrics.csv' has no rows"):
        draw(tmp_path, [])
    with pytest.raises(InputError, match=r"has 'fast' in the column 'lr'"):
        draw(tmp_path, ["1,9.5,2.1,20,60,2.0,25,70,fast,800"])
    with pytest.raises(InputError, match=r"suffix of the picture"):
        draw_curves(table(tmp_path, ROWS), tmp_path / "curves")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_titles_stand_side_by_side_and_a_constant_rate_is_a_flat_line(tmp_path, monkeypatch):
    head = "epoch,train_loss,train_top1,val_loss,val_top1,test_loss,test_top1,lr"
    rows = ["149,2.0,0.3,2.1,0.25,,,0.001", "150,1.5,1.0,1.9,1.0,1.8,1.0,0.001"]
    drawn = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: drawn.append(figure) or path)
    draw_curves(table(tmp_path, rows, head), tmp_path / "curves.png")
    drawn[0].draw_without_rendering()
    for panel in drawn[0].axes:
        titles = [title.get_window_extent() for title in (panel.title, panel._left_title, panel._right_title)]
        shown = [box for box in titles if box.width]
        assert not any(first.overlaps(second) for first, second in itertools.combinations(shown, 2))
    assert drawn[0].axes[2].get_ylim()[0] == 0
