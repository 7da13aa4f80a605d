"""A text whose tokens are coloured by how much of a network keeps or reads them."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.viz.figure import FAINT, INK, own_style, save_figure, write_plainly

LINE = 0.19
"""Height of a line in inches."""

CELL = 0.0755
"""Width of a character in inches: that of the font below."""

FONT: dict[str, Any] = {"family": "monospace", "fontsize": 9}
SHADES = LinearSegmentedColormap.from_list("kept", ["#ffffff", "#cfe5f5", "#56b4e9"])
NEWLINE = "\u21b5"


@own_style()
def draw_text(
    tokens: Sequence[str], shares: Mapping[str, Tensor], path: Path | str, *, title: str, columns: int = 100
) -> Path:
    r"""Draw a text several times, its tokens the bluer, the larger their shares are.

    Of a cache, `cache.read.double().mean((0, 1))` is the share of its heads that read each token; tokens of a share of
    0 are grey on white.

    Args:
        tokens: the pieces of the text, as they are to stand there, blanks and line breaks included.
        shares: for each name of a panel, the shares (T,) of the tokens, from 0 to 1.
        path: the picture, .png, .pdf or .svg, in an existing folder.
        title: title above the panels.
        columns: most characters of a line.

    Returns:
        The path of the picture.

    Raises:
        InputError: there is no panel, shares are no numbers from 0 to 1 for each token, or the suffix is not one of
            these.
        OutputError: the picture cannot be written.
    """
    check_at_least("columns", columns, 20)
    if not shares:
        raise InputError("shares={} must have a name and the shares of the tokens for at least one panel")
    for name, one in shares.items():
        if one.shape != (len(tokens),) or not bool(((one >= 0) & (one <= 1)).all()):
            raise InputError(f"shares[{name!r}] must be {len(tokens)} numbers from 0 to 1, one for each token")
    lines = _lines(tokens, columns)
    head = LINE * (1 + len(textwrap.wrap(title, columns)))
    height = head + len(shares) * (len(lines) + 2) * LINE
    figure = Figure(figsize=((columns + 2) * CELL, height))
    words = figure.text(CELL / figure.get_figwidth(), 1 - LINE / 3 / height, "", va="top", color=INK, weight="bold")
    write_plainly(words, textwrap.fill(title, columns))
    for number, (name, one) in enumerate(shares.items()):
        top = head + (number * (len(lines) + 2) + 1) * LINE
        box = (CELL / figure.get_figwidth(), 1 - (top + len(lines) * LINE) / height)
        panel = figure.add_axes((*box, columns * CELL / figure.get_figwidth(), len(lines) * LINE / height))
        _draw(panel, lines, one.double().cpu().numpy(), columns)
        label = panel.set_title("", loc="left", fontsize=9, color=INK, pad=3)
        write_plainly(label, f"{name}: {float(one.sum()):.0f} of {len(tokens)} tokens")
    return save_figure(figure, path)


def _lines(tokens: Sequence[str], columns: int) -> list[list[tuple[str, int]]]:
    """Return the lines of the text: pieces of at most a line's width, with the numbers of their tokens."""
    lines: list[list[tuple[str, int]]] = [[]]
    width = 0
    for number, token in enumerate(tokens):
        for part in token.replace("\n", NEWLINE + "\n").splitlines(keepends=True):
            piece = part.rstrip("\n")
            if width + len(piece.rstrip()) > columns:
                lines.append([])
                width = 0
            for start in range(0, len(piece), columns):  # one that is longer than a line
                if start:
                    lines.append([])
                    width = 0
                lines[-1].append((piece[start : start + columns], number))
                width += len(lines[-1][-1][0])
            if part.endswith("\n"):
                lines.append([])
                width = 0
    return [line for line in lines if line]


def _draw(panel: Axes, lines: Sequence[Sequence[tuple[str, int]]], shares: np.ndarray, columns: int) -> None:
    cells = np.zeros((len(lines), columns))
    for row, line in enumerate(lines):
        column = 0
        for piece, number in line:
            cells[row, column : column + len(piece.rstrip())] = shares[number]
            words = panel.text(
                column, row + 0.5, "", va="center_baseline", color=INK if shares[number] else FAINT, **FONT
            )
            write_plainly(words, piece)
            column += len(piece)
    panel.imshow(cells, cmap=SHADES, vmin=0, vmax=1, extent=(0, columns, len(lines), 0), aspect="auto")
    panel.set_axis_off()
