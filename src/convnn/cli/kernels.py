"""Draw the kernels that each layer of a trained network applies, and their spectra."""

import argparse
from pathlib import Path

from rich.console import Console

from convnn.cli._flags import add_checkpoint, add_config_flags, add_out_flags
from convnn.cli._parser import Parser, add_json_flag
from convnn.data import example_of
from convnn.errors import check_at_least, check_suffix
from convnn.files import check_new, make_folder
from convnn.runs.files import KERNELS
from convnn.screen import print_json, print_line, show_activity
from convnn.train import load_checkpoint
from convnn.viz.figure import SUFFIXES
from convnn.viz.kernels import describe, draw_kernels, find_kernels, read_sizes


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    parser.add_argument("--num_kernels", type=int, default=6, help="number of kernels to draw of each layer")
    add_out_flags(parser, "the picture, .png, .pdf or .svg", default="kernels.png")
    add_json_flag(parser)
    add_config_flags(parser, only=["imports"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Draw a row for each layer, and print how many taps each kernel has."""
    check_at_least("--num_kernels", args.num_kernels, 1)
    path = Path(args.out)
    check_suffix("--out", path, SUFFIXES)
    check_new(path.parent, [path.name], overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    with show_activity(console, "generating kernels"):
        layers = find_kernels(network, example_of(recipe.input_shape, recipe.kind))
        make_folder(path.parent, "--out")
        title = f"{recipe.model} of {recipe.layer}"
        draw_kernels(layers, path, title=title, num_kernels=args.num_kernels, sizes=_sizes(Path(args.checkpoint)))
    if args.json:
        rows = [{"layer": one.name, "kind": one.kind, "taps": one.sides, "horizon": one.horizon} for one in layers]
        print_json(console, rows)
        return
    for layer in layers:
        print_line(console, f"{layer.name}: {layer.kind}, {describe(layer)} taps")
    print_line(console, str(path))


def _sizes(checkpoint: Path) -> dict[str, list[float]] | None:
    """Return the numbers of taps over the epochs, if the run of the checkpoint has written them."""
    table = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / KERNELS
    return read_sizes(table) if table.is_file() else None
