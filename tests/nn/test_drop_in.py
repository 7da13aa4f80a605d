"""Tests of every row of the table in docs/any-network.md on ConvNN2d as a replacement of nn.Conv2d."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn import ConvNN2d

PAGE = Path(__file__).parents[2] / "docs" / "any-network.md"
SECTION = PAGE.read_text(encoding="utf-8").split("## What drop-in means")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| ([^|]+?) \|", SECTION, flags=re.MULTILINE)
SIZE = (10, 12)
CHECKS: dict[str, Callable[[], None]] = {}


def checks(row: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS[row] = check
        return check

    return keep


def image(*shape: int) -> Tensor:
    return torch.randn(shape or (2, 8, *SIZE))


def test_every_row_is_checked() -> None:
    assert set(ROWS) == {*CHECKS, "cost"}  # which the benchmarks measure


@pytest.mark.parametrize("row", [row for row in ROWS if row != "cost"])
def test_a_row_holds(row: str) -> None:
    CHECKS[row]()


@checks("channels")
def _() -> None:
    assert ConvNN2d(8, 4)(image()).shape[1] == nn.Conv2d(8, 4, 3)(image()).shape[1] == 4


@checks("third argument")
def _() -> None:
    with pytest.raises(InputError, match="write K=9 for as many neighbours as a window of 3 x 3 has"):
        ConvNN2d(8, 4, 3)


@checks("`padding`")
def _() -> None:
    assert nn.Conv2d(8, 4, 3)(image()).shape[2:] == (8, 10)
    assert all(ConvNN2d(8, 4, padding=padding)(image()).shape[2:] == SIZE for padding in (0, 1, 3))
    assert ConvNN2d(8, 4).grid.padding == 1


@checks("`window_size`")
def _() -> None:
    for padding in (0, 1, 3):
        theirs = nn.Conv2d(8, 4, 3, padding=padding)
        assert ConvNN2d(8, 4, window_size=3, padding=padding)(image()).shape == theirs(image()).shape


@checks('`padding="same"`')
def _() -> None:
    assert ConvNN2d(8, 4, window_size=5, padding="same")(image()).shape[2:] == SIZE
    for settings in ({"padding": "same"}, {"padding": "valid", "window_size": 3}):
        with pytest.raises(InputError, match=r"^padding='"):
            ConvNN2d(8, 4, **settings)


@checks("`stride`")
def _() -> None:
    for stride in (2, 3, (1, 2)):
        theirs = nn.Conv2d(8, 4, 3, stride=stride, padding=1)
        assert ConvNN2d(8, 4, stride=stride)(image()).shape == theirs(image()).shape


@checks("`dilation`")
def _() -> None:
    layer, theirs = ConvNN2d(8, 4, window_size=3, dilation=2), nn.Conv2d(8, 4, 3, padding=1, dilation=2)
    assert layer(image()).shape == theirs(image()).shape
    spread = layer.neighbors(image(1, 8, *SIZE)).indices.unique().numel()
    assert spread > 9 * 9  # far beyond any window
    with pytest.raises(InputError, match="give its window_size"):
        ConvNN2d(8, 4, dilation=2)


@checks("`groups`, `bias`, `padding_mode`, `device`")
def _() -> None:
    for mode in ("zeros", "reflect", "replicate", "circular"):
        settings = {"groups": 2, "bias": False, "padding_mode": mode, "device": "meta"}
        ours, theirs = ConvNN2d(8, 4, **settings), nn.Conv2d(8, 4, 3, **settings)
        assert ours.weight.device.type == theirs.weight.device.type == "meta"
        assert ours.weight.shape == theirs.weight.flatten(2).shape
        assert ours.bias is theirs.bias is None
        assert ConvNN2d(8, 4, padding_mode=mode)(image()).shape[2:] == SIZE


@checks("`weight`")
def _() -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(8, 4, 3, groups=2)
    torch.manual_seed(0)
    ours = ConvNN2d(8, 4, groups=2)
    assert (theirs.weight.shape, ours.weight.shape) == ((4, 4, 3, 3), (4, 4, 9))
    assert torch.equal(ours.weight, theirs.weight.flatten(2))
    assert torch.equal(ours.bias, theirs.bias)


@checks("`dtype`")
def _() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert ConvNN2d(8, 4, dtype=dtype)(image().to(dtype)).dtype == dtype
    assert ConvNN2d(8, 4)(image().double()).dtype == torch.float64
    with pytest.raises(RuntimeError):
        nn.Conv2d(8, 4, 3)(image().double())
    with pytest.raises(InputError, match="complex64 must be floating"):
        ConvNN2d(8, 4, dtype=torch.complex64)(image().to(torch.complex64))


@checks("input")
def _() -> None:
    assert ConvNN2d(8, 4)(image(8, *SIZE)).shape == (4, *SIZE)
    assert ConvNN2d(8, 4)(image(0, 8, *SIZE)).shape == (0, 4, *SIZE)
    last = image().contiguous(memory_format=torch.channels_last)
    assert ConvNN2d(8, 4)(last).is_contiguous(memory_format=torch.channels_last)


@checks("small maps")
def _() -> None:
    assert ConvNN2d(8, 4)(image(1, 8, 1, 1)).shape == (1, 4, 1, 1)
    with pytest.raises(InputError, match="K=9 is more than the 4 positions"):
        ConvNN2d(8, 4, padding=0)(image(1, 8, 2, 2))


@checks("output")
def _() -> None:
    x = image(1, 8, *SIZE)
    x[0, :, -1, -1] = x[0, :, 0, 0]  # the two corners are alike
    layer = ConvNN2d(8, 4, K=2)
    changed = x.clone()
    changed[0, :, -1, -1] *= 2
    assert not torch.allclose(layer(x)[..., 0, 0], layer(changed)[..., 0, 0])
    theirs = nn.Conv2d(8, 4, 3, padding=1)
    assert torch.equal(theirs(x)[..., 0, 0], theirs(changed)[..., 0, 0])


@checks('`similarity_type="Window"`')
def _() -> None:
    x = image()
    for stride, padding, dilation in ((1, 1, 1), (2, 0, 1), (1, 2, 2)):
        settings = {"stride": stride, "padding": padding, "dilation": dilation}
        theirs = nn.Conv2d(8, 4, 3, **settings)
        ours = ConvNN2d(8, 4, K=9, window_size=3, similarity_type="Window", **settings)
        ours.load_state_dict({"weight": theirs.weight.flatten(2), "bias": theirs.bias})
        torch.testing.assert_close(ours(x), theirs(x))
