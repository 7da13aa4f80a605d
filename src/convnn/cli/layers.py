"""`convnn layers`: what layers there are, and which flags each reads."""

import argparse

from rich.console import Console
from rich.table import Table

from convnn.cli._flags import Parser, add_config_flags
from convnn.nn import LAYERS, list_layers
from convnn.train.config import LAYER_SETTINGS


def add_flags(parser: Parser) -> None:
    """Modules of more layers."""
    add_config_flags(parser, only=["imports"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Print names, summaries and flags."""
    table = Table(box=None)
    table.add_column("layer", style="bold")
    for heading in ("reads", "what each position looks at", "flags that it reads"):
        table.add_column(heading)
    for name in list_layers():
        entry = LAYERS[name]
        flags = [f"--{setting}" for setting in LAYER_SETTINGS if setting in entry.settings]
        table.add_row(name, entry.reads, entry.summary, " ".join(flags))
    console.print(table)
