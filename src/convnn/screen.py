"""What a command prints on: a terminal, or what reads its output."""

import json
from collections.abc import Mapping, Sequence
from math import isnan
from typing import IO, Any

from rich.console import Console

WIDE = 1 << 16
"""Letters of a line that is read by no terminal: nothing is cut or broken."""


def make_console(file: IO[str] | None = None) -> Console:
    """A console that shows people's text as it is: brackets are no markup, colons no emoji, numbers not coloured.

    Args:
        file: where it writes; to the standard output when None.
    """
    console = Console(file=file, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


def print_line(console: Console, text: str) -> None:
    """Print a line as it is, on any console: nothing breaks, colours or interprets it."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(console: Console, value: Any) -> None:
    """Print a value as JSON in ASCII; a number that is unknown, NaN, is null."""
    console.file.write(json.dumps(_without_nan(value), indent=1) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value
