"""Tables as text."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values with a head."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return file.getvalue()


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], is_number: Sequence[bool]) -> str:
    """A table of Markdown, of cells that are Markdown; columns of numbers are aligned right."""
    rule = ["---:" if number else "---" for number in is_number]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join("\\" + letter if letter in "\\|*_`<[" else letter for letter in text)
