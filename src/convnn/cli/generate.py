"""Train a network of data without labels, measure it, or draw new samples from it."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from convnn.cli._flags import add_checkpoint, add_config_flags, config_from, flag_names
from convnn.cli._handed import add_tasks, train_or_evaluate
from convnn.cli._parser import Parser, PathAction
from convnn.data import LabelledPart
from convnn.errors import InputError, check_choice, check_suffix
from convnn.files import check_new, make_folder
from convnn.models import Network, OwnLoss, list_models, own_loss_of
from convnn.ops.edm import EDMSampler
from convnn.screen import print_line
from convnn.tasks.generate import draw, judge, sample, write
from convnn.tasks.generate.write import check_written
from convnn.train import Recipe, find_device, load_checkpoint
from convnn.words import counted

DEFAULT = "finc_flow"


def add_flags(parser: Parser) -> None:
    """Add the three tasks to a parser."""
    text = "measure it on a part of the data, and its samples against it"
    tasks = add_tasks(parser, f"train one, by default {DEFAULT}", text)
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
    parser.add_argument(
        "--steps", type=int, default=None, help="steps of a network that removes noise (default: as many as it has)"
    )
    parser.add_argument(
        "--samples",
        action=PathAction,
        default=None,
        metavar="FILE",
        help="the samples as text too, .json",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_config_flags(parser, only=["imports", "seed", "device"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    if args.task == "sample":
        draw_samples(args, console)
        return
    train_or_evaluate(
        args,
        console,
        "generate",
        default=DEFAULT,
        check_model=check_model,
        accept=check_network,
        further=judge_samples,
    )


def check_network(checkpoint: str, network: Network, recipe: Recipe) -> None:
    """Refuse the checkpoint of a network that draws no samples."""
    if not draws_samples(recipe.model):
        raise InputError(f"checkpoint '{checkpoint}' is of {recipe.model}, which draws no samples")


def draws_samples(model: str) -> bool:
    """Return whether a network draws samples."""
    return hasattr(own_loss_of(model), "sample")


def check_model(model: str) -> None:
    """Refuse a network that draws no samples.

    Raises:
        InputError: it draws none; the message names those that do.
    """
    check_choice("--model", model, [name for name in list_models() if draws_samples(name)])


def judge_samples(network: Network, recipe: Recipe, part: LabelledPart, seed: int) -> Mapping[str, float]:
    """Return how far new samples of a network are from a part of the data, where this is known."""
    assert isinstance(network, OwnLoss)
    return judge(network, recipe, part.loader, seed)


def check_out(args: argparse.Namespace, flag: str, suffix: str) -> Path:
    """Return the path that a flag names.

    Raises:
        InputError: it has another suffix, or exists.
    """
    path = Path(getattr(args, flag))
    check_suffix(f"--{flag}", path, (suffix,))
    check_new(path, overwrite=args.overwrite)
    return path


def set_steps(network: OwnLoss, steps: int | None) -> None:
    """Set the number of steps in which a network removes noise.

    Raises:
        InputError: it removes none, or the number is out of range.
    """
    if steps is None:
        return
    sampler = getattr(network, "sampler", None)
    if not isinstance(sampler, EDMSampler):
        raise InputError(f"--steps={steps} is for networks that remove noise; {type(network).__name__} draws at once")
    with flag_names({"steps": "steps"}):
        network.sampler = replace(sampler, steps=steps)  # type: ignore[assignment]


def draw_samples(args: argparse.Namespace, console: Console) -> None:
    """Draw samples, and write a picture of them, and their text if a flag says so."""
    out, config = check_out(args, "out", ".png"), config_from(args)
    text = None if args.samples is None else check_out(args, "samples", ".json")
    network, recipe = load_checkpoint(args.checkpoint)
    check_network(args.checkpoint, network, recipe)
    assert isinstance(network, OwnLoss)
    if text is not None:
        try:
            check_written(network)
        except InputError as error:
            raise InputError(f"--samples={text}: {error}") from None
    set_steps(network, args.steps)
    network.to(find_device(config.device))
    with flag_names({"count": "count", "temperature": "temperature"}):
        found = sample(network, args.count, recipe.input_shape, temperature=args.temperature, seed=config.seed)
    make_folder(out.parent, "--out")
    draw(network, found, recipe, out)
    if text is not None:
        make_folder(text.parent, "--samples")
        write(network, found, recipe, text)
    also = "" if text is None else f" and {text}"
    print_line(console, f"{out}{also}: {counted(args.count, 'sample')} of {recipe.model}, epoch {recipe.epoch}")
