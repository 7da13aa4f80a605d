"""Classify pictures with a trained network, or nodes of a graph, or graphs."""

import argparse
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from convnn.cli._flags import add_checkpoint, add_config_flags, add_merge_flag, add_out_flags, config_from
from convnn.cli._graphs import chosen_samples, parse_numbers, part_of_graphs
from convnn.cli._images import add_fit_flag, find_pictures, fit_from
from convnn.cli._parser import Parser, PathAction
from convnn.cli.evaluate import refuse_all_but_images, refuse_masks, refuse_without_classes
from convnn.data import ON_GRAPHS, LabelledPart, load_image
from convnn.errors import InputError, check_at_least, check_choice
from convnn.files import check_new, make_folder, write_atomically
from convnn.models import Network
from convnn.nn import merge
from convnn.screen import make_console
from convnn.tables import csv_text
from convnn.train import Recipe, find_device, load_checkpoint

FORMATS = ("table", "csv", "json")


class Guess(NamedTuple):
    """One of the most probable classes of a picture, node or graph; rank 1 is the most probable."""

    sample: str
    rank: int
    name: str
    probability: float


class Refusals:
    """Reports pictures that cannot be read on stderr, one line each, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, reason: object) -> None:
        """Report a picture."""
        self.count += 1
        print(f"convnn: {reason}", file=sys.stderr)


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    parser.add_argument(
        "images",
        action=PathAction,
        nargs="+",
        metavar="IMAGE",
        help="picture files of any size, and folders of them; or numbers of nodes, or of test graphs",
    )
    parser.add_argument("--top", type=int, default=3, help="number of classes to show for each picture")
    parser.add_argument("--batch_size", type=int, default=32, help="number of pictures in memory at once")
    parser.add_argument(
        "--format",
        default="table",
        metavar="{" + ",".join(FORMATS) + "}",
        help="table for reading; csv or json for programs",
    )
    add_out_flags(parser, "file to write instead of printing")
    add_fit_flag(parser)
    add_merge_flag(parser)
    add_config_flags(parser, only=["imports", "data_path", "device"])


def run(args: argparse.Namespace, console: Console) -> int:
    """Print or write the most probable classes of each picture; return 1 if one could not be read, else 0."""
    check_at_least("--top", args.top, 1)
    check_choice("--format", args.format, FORMATS)
    device = find_device(config_from(args).device)
    out = None if args.out is None else Path(args.out)
    if out is not None:
        check_file(out, overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    refuse_without_classes(recipe, "convnn predict")
    if recipe.kind in ON_GRAPHS:
        part = part_of_graphs(args, recipe)
        found = guess_graphs(network, recipe, part, parse_numbers(args.images), args.top)
        write(found, args.format, out, console, part.kind)
        return 0
    refuse_all_but_images(recipe, args.checkpoint, "predict")
    refuse_masks(recipe, args.checkpoint, "convnn predict")
    fit = fit_from(args, recipe)
    if args.merge:
        merge(network, inplace=True)
    network.to(device)
    refuse = Refusals()
    paths = find_pictures(args.images, refuse)
    batches = read_batches(paths, recipe, fit, args.batch_size, refuse)
    guesses = [guess for batch in batches for guess in guess_batch(network, recipe, batch, args.top, device)]
    write(guesses, args.format, out, console)
    return 1 if refuse.count else 0


def check_file(out: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before anything is computed.

    Raises:
        InputError: it is a folder, or a file that exists and must not be replaced.
        OutputError: its folder cannot be created.
    """
    if out.is_dir():
        raise InputError(f"--out={out} is a folder; name the file, such as {out / 'classes.csv'}")
    check_new(out, overwrite=overwrite)
    make_folder(out.parent, "--out")


def read_batches(
    paths: Iterable[str], recipe: Recipe, fit: str, batch_size: int, refuse: Refusals
) -> Iterator[list[tuple[str, Tensor]]]:
    """Yield batches of readable pictures, as network inputs (1, C, H, W) with their paths."""

    def read() -> Iterator[tuple[str, Tensor]]:
        for path in paths:
            try:
                yield path, load_image(path, recipe.input_shape, recipe.mean, recipe.std, fit)
            except InputError as error:  # noqa: PERF203 (cheap compared with reading a picture)
                refuse(error)

    pictures = read()
    while batch := list(islice(pictures, batch_size)):
        yield batch


def guess_batch(
    network: Network, recipe: Recipe, batch: list[tuple[str, Tensor]], top: int, device: torch.device
) -> Iterator[Guess]:
    """Yield the most probable classes of each picture of a batch, at most `top` each."""
    images = torch.cat([image for _, image in batch]).to(device)
    return _guess(network, recipe, images, [path for path, _ in batch], top)


def guess_graphs(network: Network, recipe: Recipe, part: LabelledPart, numbers: list[int], top: int) -> list[Guess]:
    """Return the most probable classes of each node, or of each graph of the part, at most `top` each.

    Raises:
        InputError: there is no such node or graph.
    """
    inputs = chosen_samples(recipe, part, numbers, part.kind)
    return list(_guess(network.cpu(), recipe, inputs, [str(number) for number in numbers], top))


def _guess(network: Network, recipe: Recipe, inputs: Any, names: Sequence[str], top: int) -> Iterator[Guess]:
    with torch.no_grad():
        probabilities = network(inputs).softmax(dim=-1).cpu()
    best = probabilities.topk(min(top, len(recipe.classes)))
    for name, values, indices in zip(names, best.values.tolist(), best.indices.tolist(), strict=True):
        for rank, (value, index) in enumerate(zip(values, indices, strict=True), start=1):
            yield Guess(name, rank, recipe.classes[index], value)


def write(guesses: list[Guess], form: str, out: Path | None, console: Console, kind: str = "image") -> None:
    """Print the guesses, or write them to a file, atomically; `kind` is the word for a sample.

    Raises:
        OutputError: the file cannot be written.
    """
    if form == "table" and out is None:
        if guesses:
            console.print(as_table(guesses, kind))
        return
    text = {"table": as_text, "csv": as_csv, "json": as_json}[form](guesses, kind)
    if out is None:
        console.file.write(text)
    else:
        write_atomically(out, text)


def as_table(guesses: Iterable[Guess], kind: str = "image") -> Table:
    """Return a table that names each sample once; narrow terminals wrap its cells without cutting them."""
    table = Table(box=None)
    for heading in (kind, "class", "probability"):
        table.add_column(heading, overflow="fold")
    for guess in guesses:
        table.add_row(guess.sample if guess.rank == 1 else "", guess.name, f"{guess.probability:.1%}")
    return table


def as_text(guesses: Iterable[Guess], kind: str = "image") -> str:
    """Return the table as text of unlimited width."""
    screen = io.StringIO()
    make_console(screen).print(as_table(guesses, kind))
    return screen.getvalue()


def as_csv(guesses: Iterable[Guess], kind: str = "image") -> str:
    """Return a CSV row for each class of each sample, with probabilities from 0 to 1."""
    return csv_text((kind, "rank", "class", "probability"), guesses)


def as_json(guesses: Iterable[Guess], kind: str = "image") -> str:
    """Return a JSON list with an entry for each sample, in ASCII, so that file names of any bytes survive."""
    samples: list[dict[str, Any]] = []
    for guess in guesses:
        if guess.rank == 1:
            samples.append({kind: guess.sample, "classes": []})
        samples[-1]["classes"].append({"class": guess.name, "probability": guess.probability})
    return json.dumps(samples, indent=2) + "\n"
