"""Style and output that the pictures share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from convnn.errors import check_choice
from convnn.files import write_atomically

SUFFIXES = (".png", ".pdf", ".svg")
INK = "#262626"
FAINT = "#8c8c8c"
HAIRLINE = "#ececec"

INKS = {INK: "var(--ink)", FAINT: "var(--faint)", HAIRLINE: "var(--line)", "#ffffff": "var(--paper)"}
"""Colours of a picture that follow a page's light or dark scheme."""

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""The palette of Okabe and Ito, without yellow and black, which do not show on white or on black."""


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's defaults, ignoring the user's matplotlibrc; also a decorator."""
    with matplotlib.style.context("default"):
        yield


def write_plainly(text: Text, words: str) -> None:
    r"""Show text unchanged: a dollar sign starts no formula, and an undecodable byte is shown as `\udce9`."""
    text.set_parse_math(False)
    text.set_text(words.encode("utf-8", "backslashreplace").decode())


def write_title(panel: Axes, words: str) -> None:
    """Write a title, unchanged, above a panel."""
    write_plainly(panel.set_title("", loc="left", fontsize=10, fontweight="bold", color=INK), words)


def write_legend(figure: Figure, lines: Sequence[Any], names: Sequence[str], **style: Any) -> None:
    """Write the names of lines, unchanged, beside the panels."""
    labels = [str(number) for number in range(len(names))]  # matplotlib hides labels that begin with an underscore
    legend = figure.legend(lines, labels, loc="outside right upper", frameon=False, fontsize=9, labelcolor=INK, **style)
    for text, name in zip(legend.get_texts(), names, strict=True):
        write_plainly(text, name)


def style_panel(panel: Axes) -> None:
    """Style a panel with hairlines behind the data and no frame except the lower axis."""
    panel.tick_params(which="both", length=0, labelsize=8, labelcolor=INK)
    panel.grid(axis="y", color=HAIRLINE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(FAINT)


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return the indices of at most `most` of `count` things, from the first to the last."""
    indices: list[int] = np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
    return indices


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure atomically, in the format of the suffix, into an existing folder.

    Raises:
        InputError: the suffix is not one of `SUFFIXES`.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    check_choice("suffix of the picture", path.suffix.lower(), SUFFIXES)
    FigureCanvasAgg(figure)
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=160, facecolor="white")
    write_atomically(path, picture.getbuffer())
    return path


def svg_text(figure: Figure) -> str:
    """Return a figure as the <svg> element of a page, without background, with text as text, and deterministic."""
    FigureCanvasAgg(figure)
    text = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "convnn"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]


def themed(svg: str) -> str:
    """Let the colours of a picture follow the light or dark scheme of its page."""
    for color, variable in INKS.items():
        svg = svg.replace(f": {color}", f": {variable}")  # in a style
    return svg


def rank_colors(count: int) -> ListedColormap:
    """Return the colours of the ranks 1 .. count: bright is near; the darkest would not show on a dark image."""
    return ListedColormap(colormaps["plasma"](np.linspace(0.97, 0.3, count)))
