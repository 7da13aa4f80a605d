"""List layers and other systems: what each does, and which flags it reads."""

import argparse
from fnmatch import fnmatch
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from convnn.cli._flags import add_config_flags
from convnn.cli._parser import Parser, add_json_flag
from convnn.errors import InputError, did_you_mean
from convnn.nn import LAYERS, list_layers
from convnn.nn.registry import entry_for
from convnn.screen import print_json
from convnn.systems import FAMILIES, System, list_systems
from convnn.train.config import layer_settings

STEPS = ("published", "selects", "weighs", "aggregates", "when", "paper", "checked")


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    text = "pattern of the layers and systems to list, such as 'ConvNN*', in any case"
    parser.add_argument("pattern", nargs="?", default="*", help=text)
    add_config_flags(parser, only=["imports"])
    add_json_flag(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    """Print for each system, by family, what it selects, weighs and aggregates, its class, paper and flags."""
    rows = matching(describe_all(), args.pattern)
    if args.json:
        print_json(console, rows)
        return
    for family in dict.fromkeys(row["family"] for row in rows):
        console.print(FAMILIES[family].title if family else "Registered by you", style="bold underline")
        for row in rows:
            if row["family"] == family:
                _print(row, console)


def matching(rows: list[dict[str, Any]], pattern: str) -> list[dict[str, Any]]:
    """Return the systems whose value of `--layer` or whose name matches a pattern.

    Raises:
        InputError: none does; the message names the nearest.
    """
    names = [[row[key] for key in ("layer", "name") if row[key]] for row in rows]
    found = [row for row, own in zip(rows, names, strict=True) if any(fnmatch(x.lower(), pattern.lower()) for x in own)]
    if not found:
        near = did_you_mean(pattern, [x for own in names for x in own])
        raise InputError(f"pattern={pattern!r} matches none of the {len(rows)} layers and systems{near}")
    return found


def describe_all() -> list[dict[str, Any]]:
    """Return all systems, and layers registered only with a summary, as `--json` prints them."""
    systems = [_of_system(system) for system in list_systems()]
    return systems + [
        {"name": name, "family": None, "layer": name, "selects": LAYERS[name].summary} | _of_layer(name)
        for name in list_layers()
        if LAYERS[name].system is None
    ]


def _of_system(system: System) -> dict[str, Any]:
    facts = {key: getattr(system, key) for key in ("name", "family", "number", "layer", "where", *STEPS)}
    return facts | (_of_layer(system.layer) if system.layer else {})


def _of_layer(name: str) -> dict[str, Any]:
    entry = LAYERS[name]
    read = entry_for(name, "maps").settings
    flags = [f"--{name}" for name in layer_settings() if name in read]
    return {"reads": entry.reads, "flags": flags}


def _print(row: dict[str, Any], console: Console) -> None:
    """Print a system: its value of `--layer` and its name on the first line, then a line for each fact.

    Lines are wrapped at the width of a terminal, and not wrapped elsewhere.
    """
    name = f"--layer {row['layer']}" if row["layer"] else row["name"]
    title = f"  {row['name']}" if row["layer"] and row["family"] else ""
    lines = [(key, row[key]) for key in STEPS if row.get(key)]
    lines += [("code", row["where"])] if row.get("where") else []
    lines += [("reads", row["reads"]), ("flags", " ".join(row["flags"]))] if "reads" in row else []
    console.print(Text.assemble((name, "bold"), title), soft_wrap=True)
    for key, text in lines:
        line = Text.assemble((f"{key:<11}", "dim"), text)
        if console.is_terminal:
            console.print(Padding(line, (0, 0, 0, 4)))
        else:
            console.print("    " + line.plain, soft_wrap=True)
    console.print()
