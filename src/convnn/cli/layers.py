"""`convnn layers`: what layers there are, and which flags each reads."""

import argparse

from rich.console import Console
from rich.table import Table

from convnn.cli._flags import Parser
from convnn.nn import LAYERS
from convnn.train.config import LAYER_SETTINGS


def add_flags(parser: Parser) -> None:
    """None."""


def run(args: argparse.Namespace, console: Console) -> None:
    """Print names, summaries and flags."""
    table = Table(box=None)
    table.add_column("layer", style="bold")
    for heading in ("reads", "what each position looks at", "flags that it reads"):
        table.add_column(heading)
    for name, entry in LAYERS.items():
        flags = [f"--{setting}" for setting in LAYER_SETTINGS if setting in entry.settings]
        table.add_row(name, entry.reads, entry.summary, " ".join(flags))
    console.print(table)
