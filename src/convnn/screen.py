"""What a command prints on: a terminal, or what reads its output."""

import os
from typing import IO

from rich.console import Console

WIDE = 1 << 16
"""Letters of a line that is read by no terminal: nothing is cut or broken."""


def make_console(file: IO[str] | None = None) -> Console:
    """A console that shows people's text as it is: brackets are no markup, colons no emoji, numbers not coloured.

    Args:
        file: where it writes; to the standard output when None.
    """
    console = Console(file=file, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def print_line(console: Console, text: str) -> None:
    """Print a line as it is, on any console: nothing breaks, colours or interprets it."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
