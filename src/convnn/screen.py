"""Consoles, on a terminal or a pipe, and printing."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import isnan
from typing import IO, Any

from rich.console import Console

WIDE = 1 << 16
"""Line width, in characters, for output that does not go to a terminal: nothing is cut or wrapped."""


def make_console(file: IO[str] | None = None) -> Console:
    """Return a console that prints text unchanged, without markup, emoji or highlighting.

    Args:
        file: file to write to; None is standard output.
    """
    console = Console(file=file, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


def print_line(console: Console, text: str) -> None:
    """Print a line unchanged on any console, without wrapping, highlighting or markup."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show_activity(console: Console, text: str) -> AbstractContextManager[object]:
    """Show on a terminal, until the block ends, what takes its time; write nothing into a pipe or a file."""
    return console.status(text) if console.is_terminal else nullcontext()


def print_json(console: Console, value: Any) -> None:
    """Print a value as JSON in ASCII, with null for NaN."""
    console.file.write(json.dumps(_without_nan(value), indent=1) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value
