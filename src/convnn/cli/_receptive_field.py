"""The part of `convnn statistics` that measures receptive fields."""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from convnn.cli._images import config_like
from convnn.cli._tables import as_table
from convnn.cli.evaluate import load_part_like
from convnn.files import check_new, make_folder, write_atomically
from convnn.screen import print_json, print_line, show_activity
from convnn.tables import csv_text
from convnn.train import find_device, load_checkpoint
from convnn.viz import draw_fields, layer_fields
from convnn.viz.fields.table import COLUMNS, csv_rows, readable_markdown, readable_rows, values_of
from convnn.words import counted

FILES = ("receptive_field.csv", "receptive_field.md", "receptive_field.png")
IMAGES = 50
"""The published number of images, on which fields are measured unless --limit_test says otherwise."""


def measure_fields(args: argparse.Namespace, console: Console) -> None:
    """Measure the effective receptive field of every layer on test images; print and write."""
    check_new(Path(args.out), FILES, overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    config = config_like(args, recipe, fit=recipe.fit)
    if config.limit_test is None:
        config = replace(config, limit_test=IMAGES)
    test = load_part_like(recipe, config, "test").loader
    folder = make_folder(Path(args.out), "--out")
    network.to(find_device(config.device))
    images = counted(test.num_samples, "image")
    with show_activity(console, f"measuring receptive fields in {images}"):
        fields = layer_fields(network, test, max_images=test.num_samples)
    title = f"Effective receptive field: {recipe.model} of {recipe.layer} on {images} of {recipe.dataset}"
    rows, table, picture = (folder / name for name in FILES)
    write_atomically(rows, csv_text(COLUMNS, csv_rows(fields)))
    write_atomically(table, f"# {title}\n\n{readable_markdown(fields)}")
    draw_fields(fields, picture, title=title)
    if args.json:
        print_json(console, [values_of(field) for field in fields])
        return
    console.print(as_table(title, *readable_rows(fields)))
    print_line(console, str(picture))
