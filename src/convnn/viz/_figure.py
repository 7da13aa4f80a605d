"""What every picture has in common."""

from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from convnn.errors import InputError, check_choice

SUFFIXES = (".png", ".pdf", ".svg")
INK = "#262626"
FAINT = "#8c8c8c"
HAIRLINE = "#ececec"


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure whole or not at all, as what the suffix says; folders on the way are made.

    Raises:
        InputError: the suffix is none of `SUFFIXES`, or the file cannot be written.
    """
    path = Path(path)
    check_choice("suffix of the picture", path.suffix.lower(), SUFFIXES)
    FigureCanvasAgg(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".") as folder:  # beside it, so that replacing is one step
            unfinished = Path(folder) / path.name
            figure.savefig(unfinished, dpi=160, facecolor="white")
            unfinished.replace(path)
    except OSError as error:
        raise InputError(f"the picture {path} cannot be written: {error.strerror}") from error
    return path
