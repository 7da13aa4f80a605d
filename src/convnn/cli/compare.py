"""Compare several runs in a table, a picture and a page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convnn.cli._flags import add_out_flags
from convnn.cli._parser import Parser, PathAction, add_json_flag
from convnn.files import check_new, make_folder, write_atomically
from convnn.runs import Run, is_study, read_runs, read_study_runs
from convnn.screen import print_json, print_line
from convnn.viz import draw_comparison
from convnn.viz._sorted import Column, columns_markdown
from convnn.viz.compare.page import comparison_page
from convnn.viz.compare.table import UNKNOWN, comparison, different_flags

FILES = ("compare.png", "compare.md", "compare.html")

ON_SCREEN = ("measured on", "runs", "best ", "its epoch", "its test ", "last ", "epochs", "s/epoch", "less ")
"""How the headings of columns begin that fit on a narrow terminal."""


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument(
        "runs",
        action=PathAction,
        nargs="+",
        metavar="RUN",
        help="two or more folders of runs, or the folder of a study, whose runs are averaged over seeds",
    )
    parser.add_argument(
        "--against",
        metavar="NAME",
        help="name of a run in the table; also show the difference from it, paired by seed, with its 95%% interval",
    )
    add_out_flags(parser, f"folder for {', '.join(FILES)}", default="comparison")
    add_json_flag(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    """Write a picture, a table and a page, and print the table."""
    check_new(Path(args.out), FILES, overwrite=args.overwrite)
    is_of_study = len(args.runs) == 1 and is_study(args.runs[0])
    runs = read_study_runs(args.runs[0]) if is_of_study else read_runs(args.runs)
    columns = comparison(runs, args.against)
    folder = make_folder(Path(args.out), "--out")
    picture, table, page = (folder / name for name in FILES)
    draw_comparison(runs, picture)
    write_atomically(table, columns_markdown(columns))
    write_atomically(page, comparison_page(runs, args.against))
    if args.json:
        print_json(console, [{column.heading: column.keys[row] for column in columns} for row in range(len(runs))])
        return
    console.print(as_table(runs, columns))
    print_line(console, str(page))


def as_table(runs: Sequence[Run], columns: Sequence[Column]) -> Table:
    """Return the table for the screen: flags in one cell, best numbers in bold, without size and cost."""
    flags = different_flags(runs)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("flags", overflow="fold")
    visible = [column for column in columns if column.heading.startswith(ON_SCREEN)]
    for column in visible:
        table.add_column(column.heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for number, run in enumerate(runs):
        differing = "\n".join(f"{name}={run.flags.get(name, UNKNOWN)}" for name in flags)
        cells = [Text(column.cells[number], style="bold" if column.best[number] else "") for column in visible]
        table.add_row(Text(run.name), Text(differing), *cells)
    return table
