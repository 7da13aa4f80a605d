"""List the networks."""

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from convnn.cli._parser import Parser, add_json_flag
from convnn.errors import InputError
from convnn.models import default_layer, describe_model, list_models, model_settings
from convnn.screen import print_json


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument("pattern", nargs="?", default="*", help="pattern of names to list, such as 'vgg*'")
    add_json_flag(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    """Print names and summaries of networks."""
    names = list_models(args.pattern)
    if not names:
        raise InputError(f"pattern={args.pattern!r} matches no model; the models are {', '.join(list_models())}")
    if args.json:
        print_json(console, [describe(name) for name in names])
        return
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    for name in names:
        table.add_row(name, describe_model(name))
    console.print(table)


def describe(name: str) -> dict[str, Any]:
    """Return the facts of a network, as `--json` prints them."""
    summary, layer = describe_model(name), default_layer(name)
    return {"name": name, "summary": summary, "default_layer": layer, "settings": model_settings(name)}
