"""Train a network of data without labels, measure it, or draw new samples from it."""

import argparse
from pathlib import Path

from rich.console import Console

from convnn.cli import command_parser, evaluate, train
from convnn.cli._flags import add_checkpoint, add_config_flags, config_from, flag_names, given_flags
from convnn.cli._parser import Parser, PathAction, TaskParser
from convnn.errors import InputError, check_choice
from convnn.files import check_new, make_folder
from convnn.models import OwnLoss, list_models, own_loss_of
from convnn.screen import print_line
from convnn.tasks.generate import draw, sample
from convnn.train import find_device, load_checkpoint
from convnn.words import counted

DEFAULT = "finc_flow"


def add_flags(parser: Parser) -> None:
    """Add the three tasks to a parser."""
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", dest="task", required=True, parser_class=TaskParser)
    text = f"train one: the flags of convnn train, with --model {DEFAULT} unless another is named"
    tasks.add_parser("train", add_help=False, hands_over=True, help=text)
    text = "measure it on a part of the data: the flags of convnn evaluate"
    tasks.add_parser("evaluate", add_help=False, hands_over=True, help=text)
    add_sample_flags(tasks.add_parser("sample", help="draw a picture of new samples"))


def add_sample_flags(parser: Parser) -> None:
    """Add the arguments of `sample` to a parser."""
    add_checkpoint(parser)
    parser.add_argument("--count", type=int, default=25, help="number of samples")
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        help="how far samples lie from the most probable; 1 is what was learned",
    )
    parser.add_argument("--out", action=PathAction, default="samples.png", help="the picture, .png")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    add_config_flags(parser, only=["imports", "seed", "device"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    if args.task == "sample":
        draw_samples(args, console)
        return
    words = list(args.words)
    handed = command_parser(args.task, prog=f"convnn generate {args.task}").parse_strictly(words)
    handed.interruption = args.interruption
    if args.task == "evaluate":
        check_own_loss(load_checkpoint(handed.checkpoint)[1].model, "model of the checkpoint")
        evaluate.run(handed, console)
        return
    model = given_flags(handed).get("model")
    if model is not None:
        check_own_loss(model, "--model")
    elif handed.config is None and not getattr(handed, "resume", None):
        handed.model = DEFAULT
    train.run(handed, console)


def check_own_loss(model: str, argument: str) -> None:
    """Refuse a network without a loss of its own.

    Raises:
        InputError: it needs labels; the message names those that do not.
    """
    known = [name for name in list_models() if own_loss_of(name) is not None]
    check_choice(argument, model, known)


def draw_samples(args: argparse.Namespace, console: Console) -> None:
    """Draw samples, and write a picture of them."""
    out, config = Path(args.out), config_from(args)
    if out.suffix.lower() != ".png":
        raise InputError(f"--out={out} must end in .png")
    check_new(out, overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    check_own_loss(recipe.model, "model of the checkpoint")
    assert isinstance(network, OwnLoss)
    network.to(find_device(config.device))
    with flag_names({"count": "count", "temperature": "temperature"}):
        found = sample(network, args.count, recipe.input_shape, temperature=args.temperature, seed=config.seed)
    make_folder(out.parent, "--out")
    draw(network, found, recipe, out)
    print_line(console, f"{out}: {counted(args.count, 'sample')} of {recipe.model}, epoch {recipe.epoch}")
