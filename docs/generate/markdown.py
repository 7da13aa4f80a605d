"""Lines of Markdown."""

from collections.abc import Iterable, Iterator


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lines of a table in Markdown."""
    header = tuple(header)
    yield from ("", _line(header), _line("---" for _ in header))
    yield from map(_line, rows)
    yield ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
