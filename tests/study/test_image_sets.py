"""The image sets of studies/image_sets.py are what their names say."""

import runpy

import numpy as np
import pytest

from fences import ROOT

FILE = runpy.run_path(str(ROOT / "studies" / "image_sets.py"))
SETS = FILE["SETS"]


@pytest.fixture
def pictures() -> list[tuple[np.ndarray, str]]:
    generator = np.random.default_rng(0)
    return [(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8), "cat") for _ in range(6)]


def made(name: str, pictures: list[tuple[np.ndarray, str]], seed: int = 0) -> list[tuple[np.ndarray, str]]:
    return list(SETS[name](pictures, np.random.default_rng(seed), "test"))


@pytest.mark.parametrize("name", SETS)
def test_the_same_seed_makes_the_same_pixels_and_leaves_the_pictures_alone(name: str, pictures) -> None:
    before = [picture.copy() for picture, _ in pictures]
    first, again = made(name, pictures), made(name, pictures)
    assert [label for _, label in first] == [label for _, label in again]
    for (one, _), (other, _), (picture, _), kept in zip(first, again, pictures, before, strict=True):
        assert one.shape == (32, 32, 3)
        assert one.dtype == np.uint8
        assert (one == other).all()
        assert (picture == kept).all()


def test_permuted_pixels_have_one_order_whatever_the_seed(pictures) -> None:
    numbered = [(np.arange(3072, dtype=np.uint16).reshape(32, 32, 3), "x")] * 2
    (one, _), (other, _) = made("permuted", numbered, seed=0)[0], made("permuted", numbered, seed=1)[1]
    assert (one == other).all()
    assert sorted(one.ravel()) == list(range(3072))
    assert (one[..., 1] == one[..., 0] + 1).all(), "a pixel stays together"


def test_patches_are_the_old_ones_in_another_order(pictures) -> None:
    for (picture, _), (changed, label) in zip(pictures, made("patches", pictures), strict=True):
        assert label == "cat"
        old, new = ({piece.tobytes() for piece in FILE["cut"](one, 8)} for one in (picture, changed))
        assert old == new
        assert (picture != changed).any()


def test_a_quarter_is_painted(pictures) -> None:
    for (picture, _), (changed, _) in zip(pictures, made("occluded", pictures), strict=True):
        is_grey = np.array([(piece == 128).all() for piece in FILE["cut"](changed, 4)])
        assert is_grey.sum() == 16
        assert (FILE["cut"](changed, 4)[~is_grey] == FILE["cut"](picture, 4)[~is_grey]).all()


def test_a_copied_patch_is_there_twice_and_a_spliced_one_looks_alike(pictures) -> None:
    side = FILE["MOVED"]
    windows = np.lib.stride_tricks.sliding_window_view
    for (picture, _), (changed, label) in zip(pictures, made("copies", pictures), strict=True):
        rows, columns = np.nonzero((picture != changed).any(-1))
        y, x = rows.min(), columns.min()
        patch = changed[y : y + side, x : x + side]
        assert (changed == picture).all(-1).sum() >= 32 * 32 - side * side
        found = (windows(changed, (side, side), (0, 1)) == patch.transpose(2, 0, 1)).all((2, 3, 4)).sum()
        assert (label, found) in (("copied", 2), ("spliced", 1))


def test_twins_are_the_same_pattern(pictures) -> None:
    for picture, label in made("twins", pictures):
        is_pattern = ((picture == 0) | (picture == 255)).all(-1)
        side = FILE["GLYPH"]
        sums = np.lib.stride_tricks.sliding_window_view(is_pattern, (side, side)).all((2, 3))
        places = list(zip(*np.nonzero(sums), strict=True))
        assert len(places) == 2
        first, second = (picture[y : y + side, x : x + side] for y, x in places)
        assert (label == "same") == bool((first == second).all())


def test_half_of_the_pairs_are_the_same_digit(pictures) -> None:
    labels = [label for _, label in made("pairs", pictures * 10)]
    assert labels == ["same", "other"] * 30
    for picture, _ in made("pairs", pictures):
        assert (picture > 128).sum() > 60, "two digits in light ink"
        assert np.median(picture) < 30
