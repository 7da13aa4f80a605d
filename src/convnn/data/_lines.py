"""Text files with a fact a line, of which the bad ones are named by number and nothing is half read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from convnn.errors import InputError
from convnn.files import BadLine, refuse_bad_lines

Row = TypeVar("Row")


def read_lines(path: Path, parse: Callable[[str], Row]) -> list[Row]:
    """Read what each line says; empty lines and those that begin with # say nothing.

    Args:
        path: the file, in UTF-8.
        parse: function from a line to what it says; it raises ValueError, whose message is the reason, at a bad line.

    Raises:
        InputError: the file cannot be read, has bad lines (the message has the first three), or says nothing.
    """
    rows: list[Row] = []
    bad: list[BadLine] = []
    for number, line in enumerate(_lines_of(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            rows.append(parse(line))
        except ValueError as reason:
            bad.append(BadLine(number, str(reason)))
    refuse_bad_lines(path, bad)
    if not rows:
        raise InputError(f"'{path}' holds nothing")
    return rows


def _lines_of(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error.strerror or error
        raise InputError(f"'{path}' cannot be read: {reason}") from None
