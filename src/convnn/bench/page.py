"""The results of a run of the harness on one self-contained page."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from convnn.bench.run import Result
from convnn.bench.table import result_columns, summaries, summary_columns
from convnn.viz._sorted import Column, body_cell, head_cell, sorted_script, sorted_style
from convnn.words import counted


def results_page(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    """Return the page as HTML: a table of the candidates and one of all results; it loads no other file."""
    template = Template((files("convnn.bench") / "page.html").read_text(encoding="utf-8"))
    candidates = len({result.candidate for result in results})
    tasks = len({result.task for result in results})
    return template.substitute(
        style=sorted_style(),
        script=sorted_script(),
        title=f"{counted(candidates, 'kernel')} at {counted(tasks, 'task')}",
        summary=_table(summary_columns(summaries(results))),
        results=_table(result_columns(results)),
        facts=escape(", ".join(f"{name} {value}" for name, value in facts.items())),
    )


def _table(columns: Sequence[Column]) -> str:
    rows = "\n".join(_row(columns, number) for number in range(len(columns[0].cells)))
    return f"<table>\n<thead><tr>{''.join(map(head_cell, columns))}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(columns: Sequence[Column], number: int) -> str:
    first, *others = columns
    name = escape(first.cells[number])
    is_wrong = any(column.cells[number].startswith("wrong") for column in others)
    head = f'<th scope="row" data-key="{name}">{name}</th>'
    kind = ' class="wrong"' if is_wrong else ""
    return f"<tr{kind}>{head}{''.join(body_cell(one, number) for one in others)}</tr>"
