"""Texts with coloured tokens: what stands where, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from convnn.errors import InputError
from convnn.viz import draw_text
from convnn.viz.text import _lines


@pytest.mark.parametrize(
    ("tokens", "lines"),
    [
        (["one ", "two"], ["one two"]),
        (["seven more", " than it", " holds"], ["seven more", " than it", " holds"]),
        (["a\n", "b"], ["a\u21b5", "b"]),
        (["a", "\n\n", "b\n"], ["a\u21b5", "\u21b5", "b\u21b5"]),
        (["longer than a whole line is"], ["longer than ", "a whole line", " is"]),
        (["", "x"], ["x"]),
    ],
)
def test_lines_hold_the_text(tokens: list[str], lines: list[str]) -> None:
    found = _lines(tokens, 12)
    assert ["".join(piece for piece, _ in line) for line in found] == lines
    assert [number for line in found for _, number in line] == sorted(number for line in found for _, number in line)


def test_tokens_are_as_blue_as_their_shares(tmp_path: Path) -> None:
    tokens = ["#" * 20 for _ in range(3)]
    shares = {"of $all$": torch.tensor([0.0, 0.5, 1.0])}
    path = draw_text(tokens, shares, tmp_path / "a.png", title="What stayed", columns=20)
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    for color in ((0x56, 0xB4, 0xE9), (0xCF, 0xE5, 0xF5), (0xFF, 0xFF, 0xFF)):
        assert (np.abs(pixels - color).max(-1) <= 1).sum() > 500  # of a colour map of 256 steps
    again = draw_text(tokens, shares, tmp_path / "b.png", title="What stayed", columns=20)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {}}, "shares={} must have a name"),
        ({"shares": {"a": torch.ones(3)}}, r"shares\['a'\] must be 2 numbers from 0 to 1"),
        ({"shares": {"a": torch.tensor([0.5, 1.5])}}, r"shares\['a'\] must be 2 numbers from 0 to 1"),
        ({"columns": 19}, "columns=19 must be an integer of at least 20"),
        ({"path": "kept.bmp"}, "suffix of the picture='.bmp' is not one of"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change: dict, message: str, tmp_path: Path) -> None:
    arguments = {"tokens": ["a", "b"], "shares": {"a": torch.ones(2)}, "path": tmp_path / "a.png", "title": "t"}
    with pytest.raises(InputError, match=message):
        draw_text(**arguments | change)
