"""The part of `convnn statistics` that measures shape bias."""

import argparse
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from convnn.cli._flags import config_from
from convnn.cli._images import find_pictures
from convnn.cli._tables import as_table
from convnn.cli.predict import Refusals, read_batches
from convnn.errors import InputError
from convnn.files import check_new, make_folder, write_atomically
from convnn.screen import print_json, print_line, show_activity
from convnn.tables import csv_text, escape_markdown, markdown_table
from convnn.train import Recipe, find_device, load_checkpoint
from convnn.viz import ShapeBias, shape_bias
from convnn.viz.statistics.shape_bias import Cues, cues_of
from convnn.words import counted

FILES = ("shape_bias.csv", "shape_bias.md")
COLUMNS = ("class", "images", "shape", "texture", "bias")


def measure_shape_bias(args: argparse.Namespace, console: Console) -> int:
    """Measure shape bias on a folder of cue-conflict pictures; return 1 if one could not be read, else 0."""
    check_new(Path(args.out), FILES, overwrite=args.overwrite)
    config = config_from(args)
    device = find_device(config.device)
    network, recipe = load_checkpoint(args.checkpoint)
    network.to(device)
    refuse = Refusals()
    cues, left_out = find_cues(args.shape_bias, recipe, refuse)
    folder = make_folder(Path(args.out), "--out")

    def batches() -> Iterator[tuple[Tensor, list[Cues]]]:
        for batch in read_batches(cues, recipe, recipe.fit, config.batch_size, refuse):
            yield torch.cat([image for _, image in batch]).to(device), [cues[path] for path, _ in batch]

    with show_activity(console, f"classifying {counted(len(cues), 'picture')}"):
        found = shape_bias(network, batches(), recipe.classes)
    number = counted(sum(found.images.values()), "picture")
    title = f"Shape bias: {recipe.model} of {recipe.layer} on {number} with conflicting cues"
    rows = rows_of(found)
    write_atomically(folder / FILES[0], csv_text(COLUMNS, [[*row[:4], _plain(row[4])] for row in rows]))
    head, readable = ["class", "images", "shape", "texture", "shape bias"], [_readable(row) for row in rows]
    cells = [[escape_markdown(row[0]), *row[1:]] for row in readable]
    write_atomically(folder / FILES[1], f"# {title}\n\n{markdown_table(head, cells, [False, *[True] * 4])}")
    if args.json:
        print_json(console, [dict(zip(COLUMNS, row, strict=True)) for row in rows])
    else:
        console.print(as_table(title, head, readable))
        if left_out:
            print_line(console, f"{counted(left_out, 'picture')} left out: not of two different classes of the network")
        print_line(console, str(folder / FILES[1]))
    return 1 if refuse.count else 0


def find_cues(folder: str, recipe: Recipe, refuse: Refusals) -> tuple[dict[str, Cues], int]:
    """Return the pictures in and below a folder with the classes of their cues, and the number of those left out.

    Raises:
        InputError: none has two classes of the network.
    """
    if not Path(folder).is_dir():
        raise InputError(
            f"--shape_bias={folder} must be a folder of pictures named SHAPE-TEXTURE, such as cat7-dog1.png"
        )
    named = {path: cues_of(path, recipe.classes) for path in find_pictures([folder], refuse)}
    found = {path: cues for path, cues in named.items() if cues is not None}
    if not found:
        raise InputError(
            f"--shape_bias={folder} has no picture SHAPE-TEXTURE of two classes of the network, which are"
            f" {', '.join(recipe.classes[:20])}"
        )
    return found, len(named) - len(found)


Row = tuple[str, int, int, int, float]


def rows_of(found: ShapeBias) -> list[Row]:
    """Return a row of `COLUMNS` for each class of the shape, and one for all."""
    rows: list[Row] = [
        (name, images, found.shape[name], found.texture[name], found.bias_of(name))
        for name, images in found.images.items()
    ]
    images, shape, texture = (sum(part.values()) for part in (found.images, found.shape, found.texture))
    return [*rows, ("all", images, shape, texture, found.bias)]


def _plain(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"


def _readable(row: Row) -> list[str]:
    return [row[0], *map(str, row[1:4]), "–" if isnan(row[4]) else f"{row[4]:.1%}"]
