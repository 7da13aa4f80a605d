"""Tables as text."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return comma-separated values with a head."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue()


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], is_number: Sequence[bool]) -> str:
    """Return a Markdown table of Markdown cells, with columns of numbers aligned right."""
    rule = ["---:" if number else "---" for number in is_number]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


def escape_markdown(text: str) -> str:
    """Escape text, so that Markdown shows it unchanged."""
    return "".join("\\" + letter if letter in "\\|*_`<[" else letter for letter in text)
