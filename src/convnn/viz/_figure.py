"""What every picture has in common."""

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

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito, without yellow and black, which are lost on white or on black."""


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's own defaults, whatever a person's matplotlibrc says; also a decorator."""
    with matplotlib.style.context("default"):
        yield


def write_plainly(text: Text, words: str) -> None:
    r"""Show people's words as they are: a dollar begins no formula, a byte that is no text is shown as `\udce9`."""
    text.set_parse_math(False)
    text.set_text(words.encode("utf-8", "backslashreplace").decode())


def write_title(panel: Axes, words: str) -> None:
    """People's words above a panel."""
    write_plainly(panel.set_title("", loc="left", fontsize=10, fontweight="bold", color=INK), words)


def write_legend(figure: Figure, lines: Sequence[Any], names: Sequence[str], **look: Any) -> None:
    """People's names of lines, beside the panels."""
    numbers = [str(number) for number in range(len(names))]  # matplotlib leaves out what begins with an underscore
    legend = figure.legend(lines, numbers, loc="outside right upper", frameon=False, fontsize=9, labelcolor=INK, **look)
    for text, name in zip(legend.get_texts(), names, strict=True):
        write_plainly(text, name)


def style_panel(panel: Axes) -> None:
    """Hairlines behind, no frame but the axis below."""
    panel.tick_params(which="both", length=0, labelsize=8, labelcolor=INK)
    panel.grid(axis="y", color=HAIRLINE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(FAINT)


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure whole or not at all, as what the suffix says, into a folder that exists.

    Raises:
        InputError: the suffix is none of `SUFFIXES`.
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
    """A figure as the <svg> element of a page: no background, text as text, and the same for the same figure."""
    FigureCanvasAgg(figure)
    text = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "convnn"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]


def rank_colors(count: int) -> ListedColormap:
    """Colours of the ranks 1 .. count: bright is near; the darkest, lost on a dark image, are left out."""
    return ListedColormap(colormaps["plasma"](np.linspace(0.97, 0.3, count)))
