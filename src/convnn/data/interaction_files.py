"""Who chose what, read from text files, with a report of the lines that are wrong."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from convnn.errors import InputError
from convnn.files import BadLine, refuse_bad_lines
from convnn.words import counted

SUFFIXES = (".txt", ".csv", ".tsv", ".inter")
HEADINGS = ("user", "users", "userid", "user_id", "uid")
"""Names of the first column by which a first line of names is known, in any case."""

Pair = tuple[str, str]


class Row(NamedTuple):
    """A line that is not empty: its number, from 1, and its fields."""

    number: int
    fields: list[str]


def read_pairs(path: Path) -> list[Pair]:
    """Read a file of users and the items they chose.

    A line is a pair: user, item and perhaps a positive count, which is not read further. Fields are separated by tabs,
    commas or blanks, whichever the first line has, in this order. Where the fields are separated by blanks and the
    lines have other lengths, each is a list instead, as data sets are published: a user, then all its items. Names are
    any words. A first line whose first field is a heading such as user or userID is skipped, and so are empty lines.

    Args:
        path: the file.

    Returns:
        The pairs in the order of the lines; one that comes again is left out.

    Raises:
        InputError: the file cannot be read, has bad lines (the message has the first three), or holds no pair.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no text" if isinstance(error, UnicodeDecodeError) else error.strerror or error
        raise InputError(f"'{path}' cannot be read: {reason}") from None
    lines = [(number, line.strip("\r\n ")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    separator = next((mark for mark in "\t," if lines and mark in lines[0][1]), None)
    rows = [Row(number, [field.strip() for field in line.split(separator)]) for number, line in lines]
    if rows and rows[0].fields[0].lower() in HEADINGS:
        rows = rows[1:]
    are_lists = separator is None and not {len(row.fields) for row in rows} <= {2, 3}
    pairs, bad = _read_lists(rows) if are_lists else _read_rows(rows)
    refuse_bad_lines(path, bad)
    if not pairs:
        raise InputError(f"'{path}' holds no choice; each line must be user,item or user,item,count")
    return list(dict.fromkeys(pairs))


def number_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the different names in the order of their numbers: as numbers where all are, else by their letters."""
    different = set(names)
    if all(name.isascii() and name.isdecimal() for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def find_parts(folder: Path) -> dict[str, Path]:
    """Return the files of the parts in a folder, train and test, and val where there is one.

    Raises:
        InputError: one is missing, or there are several of the same part.
    """
    found: dict[str, Path] = {}
    for part in ("train", "test", "val"):
        files = sorted(path for path in folder.glob(f"{part}.*") if path.suffix in SUFFIXES and path.is_file())
        if len(files) > 1:
            raise InputError(
                f"data_path={str(folder)!r} has {files[0].name} and {files[1].name}; leave one file of {part}"
            )
        if not files and part != "val":
            raise InputError(
                f"data_path={str(folder)!r} has no {part} file; it must have {part}.txt, {part}.csv or {part}.tsv, or"
                " name a single file to be split"
            )
        if files:
            found[part] = files[0]
    return found


def _read_rows(rows: Sequence[Row]) -> tuple[list[Pair], list[BadLine]]:
    """Return the pairs of lines with one pair each, and the lines that have none."""
    pairs, bad = [], []
    for number, fields in rows:
        if (reason := _wrong(fields)) is not None:
            bad.append(BadLine(number, reason))
        else:
            pairs.append((fields[0], fields[1]))
    return pairs, bad


def _wrong(fields: Sequence[str]) -> str | None:
    """Return what is wrong with the fields of a pair."""
    if len(fields) not in (2, 3):
        return f"it has {counted(len(fields), 'field')}; it must have user, item and perhaps a count"
    if not (fields[0] and fields[1]):
        return f"its {'item' if fields[0] else 'user'} is empty"
    if len(fields) == 3:
        try:
            count = float(fields[2])
        except ValueError:
            count = -1.0
        if not 0 < count < float("inf"):
            return f"{fields[2]!r} is no count; it must be a positive number"
    return None


def _read_lists(rows: Sequence[Row]) -> tuple[list[Pair], list[BadLine]]:
    """Return the pairs of lines with a user and all its items, and the lines of users that came before."""
    first: dict[str, int] = {}
    pairs, bad = [], []
    for number, (user, *items) in rows:
        if first.setdefault(user, number) != number:
            bad.append(BadLine(number, f"user {user!r} has a list in line {first[user]:,} already"))
        pairs += [(user, item) for item in items]
    return pairs, bad
