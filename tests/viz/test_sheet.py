"""The sheet of neighbour pictures."""

import dataclasses
import threading

import matplotlib.image
import numpy as np
import pytest
import torch

from convnn.errors import InputError, OutputError
from convnn.viz import LayerNeighbors, draw_neighbors

PNG = b"\x89PNG\r\n\x1a\n"
GRAY = torch.linspace(0, 1, 64).reshape(1, 8, 8)


def layer_choosing(
    *places: tuple[int, int], name: str = "0.branch1", size: tuple[int, int] = (8, 8), stride: int = 1
) -> LayerNeighbors:
    """Make a layer where every position, or one in `stride` along both sides, chooses the same places, first most."""
    queries = torch.cartesian_prod(*(torch.arange(0, side, stride) for side in size))
    scores = torch.arange(len(places), 0, -1.0).expand(len(queries), -1)
    return LayerNeighbors(name, size, queries, torch.tensor(places).expand(len(queries), -1, -1), scores)


def draw(path, *layers, image=GRAY, queries=((4, 4),), **options) -> np.ndarray:
    draw_neighbors(image, layers, queries, path, **options)
    return matplotlib.image.imread(path)


def test_writes_a_png_and_nothing_else(tmp_path):
    path = draw_neighbors(GRAY, [layer_choosing((4, 4), (0, 1))], [(4, 4)], tmp_path / "new" / "sheet.png", title="A $")
    assert path == tmp_path / "new" / "sheet.png"
    assert path.read_bytes().startswith(PNG)
    assert list(path.parent.iterdir()) == [path]


def test_other_neighbors_make_another_picture_in_their_place_only(tmp_path):
    one = draw(tmp_path / "1.png", layer_choosing((4, 4), (1, 1)))
    same = draw(tmp_path / "2.png", layer_choosing((4, 4), (1, 1)))
    other = draw(tmp_path / "3.png", layer_choosing((4, 4), (6, 1)))
    assert np.array_equal(one, same)
    changed = np.argwhere((one != other).any(axis=2))
    assert 0 < len(changed) < 0.02 * one.shape[0] * one.shape[1]


def test_rank_is_visible(tmp_path):
    layer = layer_choosing((4, 4), (1, 1), (6, 6))
    swapped = dataclasses.replace(layer, scores=layer.scores[:, [0, 2, 1]])
    assert (draw(tmp_path / "1.png", layer) != draw(tmp_path / "2.png", swapped)).any()


def test_the_nearest_query_answers_where_only_some_positions_choose(tmp_path):
    every_other = layer_choosing((4, 4), (1, 1), stride=2)
    here = draw(tmp_path / "1.png", every_other, queries=[(2, 6)])
    beside = draw(tmp_path / "2.png", every_other, queries=[(3, 7)])
    elsewhere = draw(tmp_path / "3.png", every_other, queries=[(4, 6)])
    right = slice(here.shape[1] // 2, None)  # the left cell shows the pixel itself
    picture = slice(0, int(here.shape[0] * 0.8))  # without the caption
    assert np.array_equal(here[picture, right], beside[picture, right])
    assert (here[picture, right] != elsewhere[picture, right]).any()
    full = draw(tmp_path / "4.png", layer_choosing((4, 4), (1, 1)), queries=[(2, 6)])
    assert np.array_equal(here, full)


def test_on_a_coarser_map_the_nearest_query_answers_too(tmp_path):
    layer = layer_choosing((1, 1), size=(4, 4), stride=2)
    image = torch.zeros(1, 32, 32)
    here, there, corner = (draw(tmp_path / f"{n}.png", layer, image=image, queries=[(n, n)]) for n in (15, 20, 4))
    right = slice(here.shape[1] // 2, None)  # the left cell shows the pixel itself
    picture = slice(0, int(here.shape[0] * 0.8))  # without the caption
    assert np.array_equal(here[picture, right], there[picture, right])
    assert (here[picture, right] != corner[picture, right]).any()


@pytest.mark.slow
def test_a_score_that_is_no_number_ranks_last(tmp_path):
    layer = layer_choosing((4, 4), (1, 1), (6, 6))
    spoilt = dataclasses.replace(layer, scores=torch.tensor([3.0, torch.nan, 1.0]).expand(64, -1))
    last = dataclasses.replace(layer, scores=torch.tensor([3.0, 0.5, 1.0]).expand(64, -1))
    assert np.array_equal(draw(tmp_path / "1.png", spoilt), draw(tmp_path / "2.png", last))


def test_marks_cover_positions_of_a_coarser_map(tmp_path):
    def marked(size: tuple[int, int]) -> int:
        plain = draw(tmp_path / "plain.png", layer_choosing((0, 0), (0, 0), size=size), queries=[(0, 0)])
        drawn = draw(tmp_path / "drawn.png", layer_choosing((0, 0), (1, 1), size=size), queries=[(0, 0)])
        return int((plain != drawn).any(axis=2)[:, plain.shape[1] // 2 :].sum())

    assert marked((2, 2)) > 12 * marked((8, 8)) > 0


def test_neighbors_in_the_padding_are_drawn_and_counted(tmp_path):
    inside = draw(tmp_path / "1.png", layer_choosing((4, 4), (4, 5), (4, 6)))
    one = draw(tmp_path / "2.png", layer_choosing((4, 4), (4, 5), (-1, 6)))
    far = draw(tmp_path / "3.png", layer_choosing((4, 4), (4, 5), (-3, 6)))
    below = draw(tmp_path / "4.png", layer_choosing((4, 4), (4, 5), (8, 6)))
    assert (inside != one).any()
    assert np.array_equal(one, far)
    assert (one != below).any()


def test_of_several_heads_each_neighbor_is_drawn_once(tmp_path):
    twice = layer_choosing((4, 4), (1, 1), (6, 6), (1, 1))
    once = layer_choosing((4, 4), (1, 1), (6, 6), (4, 4))
    assert np.array_equal(draw(tmp_path / "1.png", twice), draw(tmp_path / "2.png", once))


def test_the_class_token_is_counted_by_its_name(tmp_path):
    padding = layer_choosing((4, 4), (4, 5), (-1, -1))
    token = dataclasses.replace(padding, outside="class token")
    assert (draw(tmp_path / "1.png", padding) != draw(tmp_path / "2.png", token)).any()


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (3, 4), (9, 5)])
def test_at_most_max_layers_columns(tmp_path, count, columns):
    layers = [layer_choosing((4, 4), (i % 8, 0), name=f"stages.{i}.blocks.0.convolution.branch1") for i in range(count)]
    picture = draw(tmp_path / "sheet.png", *layers, max_layers=4)
    column = (1.75 + 0.1) * 160
    assert picture.shape[1] == pytest.approx(column * columns + 16, abs=1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 9), (2, 5, 40)])
@pytest.mark.parametrize("K", [1, 2])
def test_any_image_and_any_K(tmp_path, shape, K):
    layer = layer_choosing(*[(2, 2), (0, 1)][:K], size=(4, 4))
    picture = draw(tmp_path / "sheet.png", layer, image=torch.rand(shape) * 3 - 1, queries=[(0, 0), (4, 7)])
    assert picture.std() > 0


@pytest.mark.parametrize("query", [(8, 0), (0, -1)])
def test_query_outside_is_refused(tmp_path, query):
    with pytest.raises(InputError, match=rf"query \({query[0]}, {query[1]}\) lies outside the 8x8 image"):
        draw(tmp_path / "sheet.png", layer_choosing((4, 4)), queries=[query])
    assert not list(tmp_path.iterdir())


def test_other_wrong_input_is_refused(tmp_path):
    path = tmp_path / "sheet.png"
    with pytest.raises(InputError, match="nothing to draw with 0 layers and 1 query"):
        draw(path)
    with pytest.raises(InputError, match=r"image of shape \(8, 8\) must be \(C, H, W\)"):
        draw(path, layer_choosing((4, 4)), image=GRAY[0])
    with pytest.raises(InputError, match="max_layers=0"):
        draw(path, layer_choosing((4, 4)), max_layers=0)
    with pytest.raises(InputError, match=r"suffix of the picture='.jpg'"):
        draw(tmp_path / "sheet.jpg", layer_choosing((4, 4)))


def test_unwritable_place_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken.png").mkdir()
    for path in (tmp_path / "file" / "sheet.png", tmp_path / "taken.png"):
        with pytest.raises(OutputError, match=r"cannot be created|cannot write"):
            draw_neighbors(GRAY, [layer_choosing((4, 4))], [(4, 4)], path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]


def test_threads_do_not_disturb_each_other(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    threads = [threading.Thread(target=draw, args=(path, layer_choosing((4, 4), (1, 1)))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, *others = [path.read_bytes() for path in paths]
    assert all(other == first for other in others)
