"""Compare the tangent kernels of networks, at their start and after training."""

import argparse
from dataclasses import replace
from math import nan
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from convnn.cli._flags import add_config_flags, add_out_flags
from convnn.cli._images import config_like
from convnn.cli._parser import Parser, PathAction, add_json_flag
from convnn.cli._tables import as_table
from convnn.cli.evaluate import load_part_like, refuse_all_but_images, refuse_masks
from convnn.cli.train import make_network
from convnn.errors import InputError, check_at_least, check_positive
from convnn.files import check_new, make_folder, write_atomically
from convnn.runs.files import ARGUMENTS
from convnn.runs.read import distinct_names
from convnn.screen import print_json, print_line, show_activity
from convnn.tables import csv_text
from convnn.tangent import TangentReport, tangent_report
from convnn.train import Recipe, TrainConfig, find_device, load_checkpoint, start_from
from convnn.train.config_file import read_config_file
from convnn.viz import TangentRun, draw_tangents
from convnn.viz._sorted import columns_markdown
from convnn.viz.tangents.page import tangent_page
from convnn.viz.tangents.table import COLUMNS, LAYER_COLUMNS, columns_of, csv_rows, layer_values_of, values_of
from convnn.words import counted

FLAGS = ("imports", "data_path", "noise", "limit_test", "num_workers", "batch_size", "device", "seed")

FILES = ("tangent.csv", "layers.csv", "tangent.md", "tangent.png", "tangent.html")

IMAGES = 100
"""Images on which kernels are measured unless --limit_test says otherwise: gradients take their time."""


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument(
        "runs", action=PathAction, nargs="*", metavar="RUN", help="checkpoints, or folders of runs, to compare"
    )
    parser.add_argument(
        "--checkpoint",
        dest="more",
        action=PathAction,
        nargs="+",
        default=[],
        metavar="RUN",
        help="the same, as a flag",
    )
    parser.add_argument("--chunk", type=int, default=1, help="images that are differentiated at once; pays on a GPU")
    parser.add_argument("--megabytes", type=float, default=256.0, help="the most memory of a part of the Jacobian")
    add_out_flags(parser, f"folder for {', '.join(FILES)}", default="tangent")
    add_json_flag(parser)
    add_config_flags(parser, only=FLAGS)


def run(args: argparse.Namespace, console: Console) -> None:
    """Measure all networks; print and write."""
    check_new(Path(args.out), FILES, overwrite=args.overwrite)
    paths = [Path(path) for path in (*args.runs, *args.more)]
    if not paths:
        raise InputError("RUN is missing: name the folder of a run, or several to compare")
    check_at_least("--chunk", args.chunk, 1)
    check_positive("--megabytes", args.megabytes)
    runs = [_measure(path, name, args, console) for path, name in zip(paths, _names(paths), strict=True)]
    count = len(runs[0].trained.kernel)
    title = f"Tangent kernels of {counted(len(runs), 'network')} on {counted(count, 'image')}"
    _write(runs, make_folder(Path(args.out), "--out"), title)
    if args.json:
        print_json(console, [row | {"layers": _layers(runs, row)} for row in values_of(runs)])
        return
    columns = columns_of(runs)
    rows = zip(*(column.cells for column in columns), strict=True)
    console.print(as_table(title, [column.heading for column in columns], list(rows)))
    print_line(console, str(Path(args.out) / "tangent.html"))


def _names(paths: list[Path]) -> list[str]:
    """Return names of checkpoints, those of their folders where these are different.

    Raises:
        InputError: one is given twice.
    """
    whole = [path.resolve() for path in paths]
    for path, one in zip(paths, whole, strict=True):
        if whole.count(one) > 1:
            raise InputError(f"run '{path}' is given twice")
    folders = [_folder(path) for path in whole]
    return distinct_names(folders if len(set(folders)) == len(folders) else whole)


def _measure(path: Path, name: str, args: argparse.Namespace, console: Console) -> TangentRun:
    """Measure the kernels of one run."""
    network, recipe = load_checkpoint(path)
    refuse_all_but_images(recipe, str(path), "tangent")
    refuse_masks(recipe, str(path), "convnn tangent")
    config = config_like(args, recipe, fit=recipe.fit)
    if config.limit_test is None:
        config = replace(config, limit_test=IMAGES)
    images, labels = _test_images(recipe, config)
    start = network_at_start(path, recipe)
    if start is None:
        print_line(console, f"{name}: its start is not known, because there is no {ARGUMENTS} beside the checkpoint")

    def report(one: nn.Module) -> TangentReport:
        return tangent_report(one.to(images.device).eval(), images, labels, chunk=args.chunk, megabytes=args.megabytes)

    with show_activity(console, f"differentiating {counted(len(images), 'image')} of {name}"):
        accuracy = nan if recipe.test_top1 is None else recipe.test_top1
        return TangentRun(name, report(network), None if start is None else report(start), accuracy)


def _test_images(recipe: Recipe, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return the images of the test part (N, C, H, W), and their labels (N,), or (N, 1) where they are numbers."""
    device = find_device(config.device)
    batches = [(batch.inputs.to(device), batch.labels) for batch in load_part_like(recipe, config, "test").loader]
    labels = torch.cat([one for _, one in batches]).to(device)
    return torch.cat([one for one, _ in batches]), labels.unsqueeze(1) if labels.is_floating_point() else labels


def network_at_start(path: Path, recipe: Recipe) -> nn.Module | None:
    """Return the network with the weights with which the training of a run began; None without its arguments.

    Args:
        path: a checkpoint in the folder of the run, or that folder.
        recipe: that of the checkpoint.
    """
    arguments = _folder(path) / ARGUMENTS
    if not arguments.is_file():
        return None
    from accelerate.utils import set_seed  # takes half a second to import

    config = TrainConfig(**read_config_file(arguments))
    classes = len(recipe.classes)
    set_seed(config.seed)
    network = make_network(config, recipe.input_shape, classes, pretrained=config.pretrained)
    if config.init_from is not None:
        start_from(network, config.init_from, classes)
    return network


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _layers(runs: list[TangentRun], row: dict[str, str | float]) -> list[dict[str, str | float]]:
    """Return the layers of a kernel by its row."""
    rows = [one for one in layer_values_of(runs) if (one["run"], one["weights"]) == (row["run"], row["weights"])]
    return [{name: one[name] for name in LAYER_COLUMNS[2:]} for one in rows]


def _write(runs: list[TangentRun], folder: Path, title: str) -> None:
    numbers, layers, table, picture, page = (folder / name for name in FILES)
    write_atomically(numbers, csv_text(COLUMNS, csv_rows(values_of(runs))))
    write_atomically(layers, csv_text(LAYER_COLUMNS, csv_rows(layer_values_of(runs))))
    write_atomically(table, f"# {title}\n\n{columns_markdown(columns_of(runs))}")
    draw_tangents(runs, picture, title=title)
    write_atomically(page, tangent_page(runs, title))
