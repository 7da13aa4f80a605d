"""Match images, or graphs: train on pairs, measure a run, and draw the motion that it finds as colours or lines."""

import argparse
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from torch import Tensor

from convnn.cli import evaluate
from convnn.cli._flags import add_checkpoint, add_config_flags, add_out_flags, flag_names, given_flags
from convnn.cli._handed import add_tasks, train_or_evaluate
from convnn.cli._images import config_like, kind_read
from convnn.cli._parser import Parser, PathAction
from convnn.cli.evaluate import load_part_like
from convnn.data import IMAGE_PAIRS, MATCHINGS
from convnn.data.flow_files import write_flow
from convnn.data.flow_folders import fit_pair
from convnn.data.images import read_image, to_tensor
from convnn.errors import InputError, check_at_least, check_choice, check_suffix
from convnn.files import check_new, make_folder
from convnn.models import Network, NodeMatcher, list_models
from convnn.models.flow import MotionNetwork
from convnn.nn.matches.batch import ImagePairs, pairs_of_images, stack_pairs
from convnn.screen import print_line
from convnn.train import Recipe, find_device, load_checkpoint
from convnn.words import counted

DEFAULT = "dkm"
FORMS = ("flow", "lines")
SUFFIXES = (".png", ".pdf", ".svg", ".flo")


def add_flags(parser: Parser) -> None:
    """Add the three tasks to a parser."""
    tasks = add_tasks(parser, f"train one, by default {DEFAULT}", "measure it on a part of the data")
    add_draw_flags(tasks.add_parser("draw", help="draw the motion of pairs of a part of the data, or of two pictures"))


def add_draw_flags(parser: Parser) -> None:
    """Add the arguments of `draw` to a parser."""
    add_checkpoint(parser)
    text = "two pictures of one size, in place of pairs of the data"
    parser.add_argument("images", action=PathAction, nargs="*", metavar="IMAGE", help=text)
    parser.add_argument("--part", default="test", metavar="{train,val,test}", help="part of the data set")
    parser.add_argument("--first", type=int, default=0, help="number of the first pair, from 0")
    parser.add_argument("--count", type=int, default=3, help="number of pairs; lines are drawn of the first")
    text = "motion as colours, or lines from places to where they were found"
    parser.add_argument("--form", default="flow", metavar="{" + ",".join(FORMS) + "}", help=text)
    add_out_flags(parser, "the picture, or of two pictures a flow, .flo", "motion.png")
    add_config_flags(parser, only=("resize", "dataset", "split", "fit", *evaluate.FLAGS[:2], "seed", "device"))


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    if args.task == "draw":
        draw_motion(args, console)
        return
    train_or_evaluate(
        args,
        console,
        "match",
        default=DEFAULT,
        check_model=check_model,
        accept=check_network,
    )


def check_model(model: str) -> None:
    """Refuse the name of a network that reads no pairs, of images or of graphs."""
    check_choice("--model", model, [name for name in list_models() if kind_read(name) in (IMAGE_PAIRS, MATCHINGS)])


def check_network(checkpoint: str, network: Network, recipe: Recipe) -> None:
    """Refuse the checkpoint of a network that reads no pairs, of images or of graphs."""
    if not isinstance(network, MotionNetwork | NodeMatcher):
        raise InputError(f"checkpoint '{checkpoint}' is of {recipe.model}, which matches no pairs of images")


def open_network(checkpoint: str) -> tuple[MotionNetwork, Recipe]:
    """Load the checkpoint of a network on pairs of images.

    Raises:
        InputError: its network reads something else.
    """
    network, recipe = load_checkpoint(checkpoint)
    check_network(checkpoint, network, recipe)
    if isinstance(network, NodeMatcher):
        raise InputError(
            f"checkpoint '{checkpoint}' is of {recipe.model}, which matches graphs, and convnn match draw is for"
            " images; convnn match evaluate measures it"
        )
    return cast("MotionNetwork", network), recipe


def draw_motion(args: argparse.Namespace, console: Console) -> None:
    """Draw what a network finds in pairs of the data or in two pictures, or write the flow of the two."""
    out = check_draw(args)
    network, recipe = open_network(args.checkpoint)
    device = find_device(config_like(args, recipe).device)
    pairs = pair_of(args) if args.images else pairs_of(args, recipe)
    network.to(device)
    with torch.no_grad(), flag_names({"resize": "resize"}):
        found = network.find(pairs.first.to(device), pairs.second.to(device)).cpu()
    make_folder(out.parent, "--out")
    if out.suffix.lower() == ".flo":
        write_flow(found[0], out)
    else:
        from convnn.tasks.match.motion_picture import draw_flow, draw_lines  # they import Matplotlib

        (draw_flow if args.form == "flow" else draw_lines)(pairs, found, out, is_true_known=not args.images)
    print_line(console, f"{out}: {recipe.model}, epoch {recipe.epoch}, {said_of(pairs, found, bool(args.images))}")


def said_of(pairs: ImagePairs, found: Tensor, is_unknown: bool) -> str:
    """Return what is printed of a flow: its length, or how far from the truth it is."""
    if is_unknown:
        return f"moves by {found.norm(dim=1).mean():.2f} pixels on average"
    error = (found - pairs.flow).norm(dim=1)[pairs.known].mean()
    return f"end-point error {error:.3f} on {counted(len(found), 'pair')}"


def check_draw(args: argparse.Namespace) -> Path:
    """Check the arguments of `draw`, and return the file to write.

    Raises:
        InputError: one is wrong; the message names it.
    """
    out, given = Path(args.out), given_flags(args)
    check_choice("--form", args.form, FORMS)
    check_suffix("--out", out, SUFFIXES)
    check_at_least("--first", args.first, 0)
    check_at_least("--count", args.count, 1)
    if len(args.images) not in (0, 2):
        raise InputError(f"IMAGE: {counted(len(args.images), 'picture')} where two are matched; give two, or none")
    if not args.images and (out.suffix.lower() == ".flo" or "resize" in given):
        wrong = f"--out={out}" if out.suffix.lower() == ".flo" else f"--resize={given['resize']}"
        raise InputError(f"{wrong} is for two pictures; give them after the checkpoint, or leave it out")
    check_new(out, overwrite=args.overwrite)
    return out


def pair_of(args: argparse.Namespace) -> ImagePairs:
    """Read two pictures, at their own size or as `--resize` and `--fit` say.

    Raises:
        InputError: one cannot be read, or their sizes differ.
    """
    first, second = (to_tensor(read_image(path)).float().unsqueeze(0) for path in args.images)
    if first.shape != second.shape:
        sizes = [f"{one.shape[3]}x{one.shape[2]}" for one in (first, second)]
        raise InputError(f"the picture {args.images[0]} is {sizes[0]} pixels, but {args.images[1]} is {sizes[1]}")
    pair, given = pairs_of_images(first, second), given_flags(args)
    side = given.get("resize")
    return pair if side is None else fit_pair(pair, (side, side), given.get("fit", "crop"))


def pairs_of(args: argparse.Namespace, recipe: Recipe) -> ImagePairs:
    """Read the pairs of a part that are drawn.

    Raises:
        InputError: there are not as many.
    """
    batch_size = args.count if args.form == "flow" else 1
    part = load_part_like(recipe, config_like(args, recipe, batch_size=1), args.part)
    last = args.first + batch_size
    if last > part.loader.num_samples:
        raise InputError(
            f"--first={args.first} and {counted(batch_size, 'pair')} end beyond the {part.loader.num_samples} of"
            f" {part.name}; lower --first or --count"
        )
    part.loader.set_epoch(0, args.first)
    batches = [batch.inputs.to("cpu") for _, batch in zip(range(batch_size), part.loader, strict=False)]
    return stack_pairs(batches, *batches[0].first.shape[2:])
