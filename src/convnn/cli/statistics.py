"""Measure the neighbours that each layer of a network chooses on the test images."""

import argparse
from math import isnan
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from convnn.cli._flags import add_checkpoint, add_config_flags, add_out_flags
from convnn.cli._images import config_like
from convnn.cli._parser import Parser, add_json_flag
from convnn.cli.evaluate import load_images_like, refuse_sequences
from convnn.files import check_new, make_folder, write_atomically
from convnn.screen import print_json, print_line, show_activity
from convnn.tables import csv_text
from convnn.train import find_device, load_checkpoint
from convnn.viz import draw_statistics, neighbor_statistics
from convnn.viz.statistics.table import COLUMNS, csv_rows, readable_markdown, readable_rows
from convnn.words import counted

FLAGS = ("imports", "data_path", "noise", "limit_train", "limit_test", "num_workers", "batch_size", "device", "seed")

FILES = ("statistics.csv", "statistics.md", "statistics.png")

ON_SCREEN = ("distance", "in_window", "outside", "hubness", "never_chosen", "class_agreement", "chance_agreement")
"""Measures that fit on a narrow terminal; the files contain all."""


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    add_out_flags(parser, f"folder for {', '.join(FILES)}", default="statistics")
    add_json_flag(parser)
    add_config_flags(parser, only=FLAGS)


def run(args: argparse.Namespace, console: Console) -> None:
    """Measure on the test images, with classes of positions learned from the training images; print and write."""
    check_new(Path(args.out), FILES, overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    refuse_sequences(recipe, args.checkpoint, "statistics")
    config = config_like(args, recipe, fit=recipe.fit)
    data = load_images_like(recipe, config)
    folder = make_folder(Path(args.out), "--out")
    network.to(find_device(config.device))
    with show_activity(console, f"measuring neighbours in {counted(data.test.num_samples, 'image')}"):
        layers = neighbor_statistics(network, data.test, labelled_batches=data.train)
    title = f"{recipe.model} of {recipe.layer} on {counted(data.test.num_samples, 'image')} of {data.name}"
    rows, table, picture = (folder / name for name in FILES)
    write_atomically(rows, csv_text(COLUMNS, csv_rows(layers)))
    write_atomically(table, f"# {title}\n\n{readable_markdown(layers)}")
    draw_statistics(layers, picture, title=title)
    if args.json:
        rows_of = [{name: getattr(layer, name) for name in COLUMNS[1:]} for layer in layers]
        print_json(console, [{"layer": layer.name} | row for layer, row in zip(layers, rows_of, strict=True)])
        return
    recall = () if all(isnan(layer.recall) for layer in layers) else ("recall",)
    console.print(as_table(title, *readable_rows(layers, ON_SCREEN + recall)))
    print_line(console, str(picture))


def as_table(title: str, head: list[str], rows: list[list[str]]) -> Table:
    """Return the table for the screen; names are shortened to its width, numbers are not."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in head:
        is_name = heading == "layer"
        wrapped = heading.replace(" ", "\n")
        table.add_column(wrapped, justify="left" if is_name else "right", no_wrap=not is_name, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return table
