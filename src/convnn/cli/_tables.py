"""Tables for the screen."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table


def as_table(title: str, head: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of measures; names are shortened to the width of the screen, numbers are not."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in head:
        is_name = heading == "layer"
        wrapped = heading.replace(" ", "\n")
        table.add_column(wrapped, justify="left" if is_name else "right", no_wrap=not is_name, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return table
