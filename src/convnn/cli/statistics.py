"""Measure the neighbours that each layer of a network chooses on the test images, how far it looks, or what decides."""

import argparse
from math import isnan
from pathlib import Path

from rich.console import Console

from convnn.cli._flags import add_checkpoint, add_config_flags, add_out_flags
from convnn.cli._images import config_like
from convnn.cli._parser import Parser, PathAction, add_json_flag
from convnn.cli._receptive_field import measure_fields
from convnn.cli._shape_bias import measure_shape_bias
from convnn.cli._tables import as_table
from convnn.cli.evaluate import load_data_like, refuse_all_but_images, refuse_masks
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
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--receptive_field",
        action="store_true",
        help="instead, measure and draw which pixels every layer depends on, on 50 images unless --limit_test is given",
    )
    instead.add_argument(
        "--shape_bias",
        action=PathAction,
        metavar="FOLDER",
        help="instead, measure whether shape or texture decides, on pictures named SHAPE-TEXTURE, as cat7-dog1.png",
    )
    add_out_flags(parser, f"folder for {', '.join(FILES)}, or receptive_field.*, or shape_bias.*", default="statistics")
    add_json_flag(parser)
    add_config_flags(parser, only=FLAGS)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure, print and write; return 1 if a picture could not be read, else 0."""
    if args.shape_bias is not None:
        return measure_shape_bias(args, console)
    (measure_fields if args.receptive_field else measure_neighbors)(args, console)
    return 0


def measure_neighbors(args: argparse.Namespace, console: Console) -> None:
    """Measure neighbours, with classes of positions learned from the training images; print and write."""
    check_new(Path(args.out), FILES, overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    refuse_all_but_images(recipe, args.checkpoint, "statistics")
    refuse_masks(recipe, args.checkpoint, "convnn statistics")
    config = config_like(args, recipe, fit=recipe.fit)
    data = load_data_like(recipe, config)
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
