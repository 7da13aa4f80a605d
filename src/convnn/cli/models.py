"""`convnn models`: what networks there are."""

import argparse

from rich.console import Console
from rich.table import Table

from convnn.cli._parser import Parser
from convnn.errors import InputError
from convnn.models import describe_model, list_models


def add_flags(parser: Parser) -> None:
    """A pattern."""
    parser.add_argument("pattern", nargs="?", default="*", help="names to list, such as 'vgg*'")


def run(args: argparse.Namespace, console: Console) -> None:
    """Print names and summaries."""
    names = list_models(args.pattern)
    if not names:
        raise InputError(f"pattern={args.pattern!r} fits no model; there are {', '.join(list_models())}")
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    for name in names:
        table.add_row(name, describe_model(name))
    console.print(table)
