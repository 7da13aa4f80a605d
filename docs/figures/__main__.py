"""Draw every figure into a folder."""

import sys
from pathlib import Path

from convnn.files import make_folder
from figures import relatives, steps


def main(folder: Path) -> None:
    """Write one PNG file for each figure."""
    make_folder(folder, "folder")
    for name, draw in (steps.FIGURES | relatives.FIGURES).items():
        draw().save(folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
