"""Segment images and volumes: train on them and masks, measure a run class by class, and draw masks over them."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import isnan
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from convnn.cli import evaluate, train
from convnn.cli._flags import add_checkpoint, add_config_flags, add_out_flags, config_from, given_flags
from convnn.cli._handed import acceptance, begins_by_flags
from convnn.cli._images import check_criterion, config_like, find_pictures
from convnn.cli._parser import Parser, PathAction, TaskParser, add_json_flag
from convnn.cli.predict import Refusals
from convnn.data import PANORAMA_SETS, SEGMENTATION_SETS, VOLUME_SETS, Loader
from convnn.data.labelled_volumes import VolumeLoader
from convnn.data.volumes import volumes_in
from convnn.errors import InputError
from convnn.files import check_new, make_folder
from convnn.models import Network, check_model, data_of, task_of
from convnn.screen import print_json, print_line
from convnn.train import Recipe, Supervised, find_device, load_checkpoint, make_accelerator
from convnn.train import evaluate as measure_loader
from convnn.train.config import DEFAULTS
from convnn.train.overlap import Overlap, OverlapMeter
from convnn.words import counted

DEFAULT = "unet"
DEFAULT_ON = dict.fromkeys(VOLUME_SETS, "unet3d") | dict.fromkeys(PANORAMA_SETS, "gkt")
SETS = {"volumes": ("volumes", "airways"), "panoramas": ("grounds", "grounds")}
"""Data sets by what a network reads: that which `--data_path` alone means, and the generated one."""


def add_flags(parser: Parser) -> None:
    """Add the three tasks to a parser."""
    tasks = parser.add_subparsers(title="tasks", dest="task", metavar="TASK", required=True, parser_class=TaskParser)
    for name, (text, _) in TASKS.items():
        tasks.add_parser(name, hands_over=True, help=text)


def add_evaluate_flags(parser: Parser) -> None:
    """Add the arguments of `evaluate` to a parser."""
    add_checkpoint(parser)
    parser.add_argument("--part", default="test", metavar="{train,val,test}", help="part of the data set")
    add_json_flag(parser)
    add_config_flags(parser, only=("dataset", *evaluate.FLAGS))


def add_predict_flags(parser: Parser) -> None:
    """Add the arguments of `predict` to a parser."""
    add_checkpoint(parser)
    parser.add_argument(
        "images",
        action=PathAction,
        nargs="+",
        metavar="IMAGE",
        help="picture files of any size, or volumes in NAME.npz or NAME.npy, and folders of them",
    )
    add_out_flags(
        parser,
        "folder for NAME_mask.png, the classes, and NAME_over.png, for people; the masks of volumes are .npz or .npy",
        required=True,
    )
    add_config_flags(parser, only=["imports", "device"])


TASKS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "train": ("train on images and masks, as convnn train does", partial(train.add_flags, usual=DEFAULT)),
    "evaluate": ("measure the overlap of each class with the masks of a part", add_evaluate_flags),
    "predict": ("write the masks of pictures or volumes, and draw them over these", add_predict_flags),
}


def run(args: argparse.Namespace, console: Console) -> int:
    """Train, measure or draw; return 1 if a picture could not be read, else 0."""
    text, add = TASKS[args.task]
    parser = Parser(prog=f"convnn segment {args.task}", description=f"{text.capitalize()}.")
    add(parser)
    parser.parse_strictly(args.words, args)
    if args.task == "train":
        train_on_masks(args, console)
        return 0
    network, recipe = load_checkpoint(args.checkpoint)
    if recipe.dataset not in SEGMENTATION_SETS:
        raise InputError(
            f"checkpoint '{args.checkpoint}' learned {recipe.dataset}, and convnn segment is for a class for every"
            f" pixel: {', '.join(SEGMENTATION_SETS)}"
        )
    if args.task == "evaluate":
        measure(args, network, recipe, console)
        return 0
    return predict(args, network, recipe, console)


def train_on_masks(args: argparse.Namespace, console: Console) -> None:
    """Train as `convnn train` does, by default a U-Net; `--data_path` alone means a folder of masks, or of volumes."""
    given = given_flags(args)
    if begins_by_flags(args):
        args.model = model = given.get("model", DEFAULT_ON.get(given.get("dataset", ""), DEFAULT))
        check_model(model, prefix="--")
        files, made = SETS.get(data_of(model), ("masks", "shapes"))
        args.dataset = given.get("dataset", files if "data_path" in given else made)
        check_set(args.dataset)
        if task_of(args.model) != "segmentation":
            args.batch_size = given.get("batch_size", DEFAULTS["masked images"]["batch_size"])
    train.run(args, console, acceptance(args, lambda config: check_set(config.dataset)))


def check_set(dataset: str) -> None:
    """Refuse a data set without a class for every pixel.

    Raises:
        InputError: it has none; the message names those that have.
    """
    if dataset not in SEGMENTATION_SETS:
        raise InputError(
            f"--dataset={dataset} has no masks; data sets with a class for every pixel are"
            f" {', '.join(SEGMENTATION_SETS)}"
        )


def measure(args: argparse.Namespace, network: Network, recipe: Recipe, console: Console) -> None:
    """Print the overlap of each class, its means, the accuracy of all pixels, and the loss."""
    config = config_like(args, recipe, fit=recipe.fit)
    check_criterion(config)
    device = find_device(config.device)
    part = evaluate.load_part_like(recipe, config, args.part)
    accelerator = make_accelerator(device, use_amp=config.use_amp)
    meter = OverlapMeter(accelerator.device, num_classes=len(part.classes))
    model = accelerator.prepare(Supervised(network.to(device), config.criterion))
    scores = measure_loader(model, part.loader, accelerator, meter=meter)
    overlap = meter.overlap(meter.sums)
    names = recipe.classes
    facts = {"model": recipe.model, "layer": recipe.layer, "epoch": recipe.epoch, "dataset": config.dataset}
    means = {"mean_iou": scores.merit, "mean_dice": overlap.dice.nanmean().item(), "pixel_accuracy": scores.top1}
    trees = tree_measures(network, part.loader)
    if args.json:
        classes = {name: {"iou": iou, "dice": dice} for name, iou, dice in _shares(names, overlap)}
        counts = {"part": part.name, f"{part.counted}s": part.loader.num_samples, "loss": scores.loss}
        print_json(console, facts | counts | means | {"classes": classes} | trees)
        return
    console.print(as_table(names, overlap))
    samples = counted(part.loader.num_samples, part.counted)
    print_line(
        console,
        f"{recipe.model} of {recipe.layer}, epoch {recipe.epoch}, on {samples} of"
        f" {config.dataset} ({part.name}): mean IoU {means['mean_iou']:.2%}, mean Dice {means['mean_dice']:.2%}, pixel"
        f" accuracy {scores.top1:.2%}, loss {scores.loss:.4f}",
    )
    if trees:
        words = {"tree_dice": "Dice", "tree_length": "length", "tree_branches": "branches", "tree_leakage": "leakage"}
        shares = ", ".join(f"{word} {trees[name]:.2%}" for name, word in words.items())
        print_line(console, f"largest part of what was found, as a tree: {shares} (means over volumes)")


def tree_measures(network: Network, loader: Loader) -> dict[str, float]:
    """Return the means of the measures of trees, by the names that --json prints; none where there are no trees."""
    if not isinstance(loader, VolumeLoader) or loader.branches is None:
        return {}
    from convnn.tasks.segment.airways import evaluate_trees

    return {f"tree_{name}": value for name, value in evaluate_trees(network, loader)._asdict().items()}


def _shares(names: tuple[str, ...], overlap: Overlap) -> Iterator[tuple[str, float | None, float | None]]:
    """Yield each class with its IoU and Dice, None where neither masks nor predictions have it."""
    for name, *shares in zip(names, overlap.iou.tolist(), overlap.dice.tolist(), strict=True):
        iou, dice = (None if isnan(share) else share for share in shares)
        yield name, iou, dice


def as_table(names: tuple[str, ...], overlap: Overlap) -> Table:
    """Return a table with a row for each class."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("class", "IoU", "Dice", "share of pixels"):
        table.add_column(heading, justify="left" if heading == "class" else "right", overflow="fold")
    places = overlap.found + overlap.missed
    for (name, *found), share in zip(_shares(names, overlap), (places / places.sum()).tolist(), strict=True):
        table.add_row(name, *("-" if value is None else f"{value:.2%}" for value in found), f"{share:.2%}")
    return table


def predict(args: argparse.Namespace, network: Network, recipe: Recipe, console: Console) -> int:
    """Write a mask and a drawing for each picture or volume; return 1 if one could not be read, else 0."""
    from convnn.tasks.segment.masks import picture_files, segment_picture  # these import Matplotlib
    from convnn.tasks.segment.volumes import segment_volume, volume_files

    if recipe.kind == "panorama":
        raise InputError(
            f"checkpoint '{args.checkpoint}' reads panoramas, and convnn segment predict is for pictures and volumes;"
            " convnn segment evaluate measures it, and convnn.load opens it in Python"
        )
    of_volumes = recipe.kind == "volume"
    find, files_of, segment = (
        (find_volumes, volume_files, segment_volume) if of_volumes else (find_pictures, picture_files, segment_picture)
    )
    out, refuse = Path(args.out), Refusals()
    paths = list(find(args.images, refuse))
    names = [Path(path).stem for path in paths]
    if repeated := next((path for path, name in zip(paths, names, strict=True) if names.count(name) > 1), None):
        raise InputError(f"several {recipe.kind}s are called {Path(repeated).stem!r}, and their masks would be, too")
    check_new(out, [name for path in paths for name in files_of(path)], overwrite=args.overwrite)
    make_folder(out, "--out")
    network.to(find_device(config_from(args).device))
    for path in paths:
        try:
            mask = segment(network, recipe, path, out)
        except InputError as error:
            refuse(error)
            continue
        print_line(console, f"{path}: {largest_classes(mask, recipe.classes)}; see {out / files_of(path)[-1]}")
    return 1 if refuse.count else 0


def find_volumes(paths: Iterable[str], refuse: Callable[[object], None]) -> Iterator[str]:
    """Yield each path that is a file, and the volumes in each folder; report a folder that has none."""
    for path in paths:
        try:
            yield from map(str, volumes_in(path)) if Path(path).is_dir() else [path]
        except InputError as error:  # noqa: PERF203 (cheap compared with reading a volume)
            refuse(error)


def largest_classes(mask: torch.Tensor, names: tuple[str, ...], most: int = 5) -> str:
    """Return the classes of a mask with their shares, the largest first."""
    counts = torch.bincount(mask.flatten().long(), minlength=256)[: len(names)]
    order = [index for index in counts.argsort(descending=True, stable=True).tolist() if counts[index]][:most]
    return ", ".join(f"{names[index]} {counts[index].item() / mask.numel():.1%}" for index in order)
