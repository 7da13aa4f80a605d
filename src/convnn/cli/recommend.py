"""Train a recommender, measure it, or suggest items to users."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from convnn.cli import _images, evaluate, train
from convnn.cli._flags import add_checkpoint, add_config_flags, flag_names
from convnn.cli._handed import handed_over, mean_own_files
from convnn.cli._parser import Parser, TaskParser, add_json_flag
from convnn.data import Interactions, read_interactions
from convnn.errors import InputError, check_at_least, check_choice
from convnn.models import Recommender, data_of, list_models
from convnn.screen import print_json, print_line
from convnn.tasks.recommend import FIGURES, Ranker
from convnn.tasks.recommend.ranker import named, numbers_of
from convnn.train import Recipe, load_checkpoint
from convnn.words import counted

DEFAULT = "recommender"
FLAGS = ("imports", "dataset", "data_path", "split")


def add_flags(parser: Parser) -> None:
    """Add the three tasks to a parser."""
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", dest="task", required=True, parser_class=TaskParser)
    text = "train one: the flags of convnn train, with --model recommender"
    tasks.add_parser("train", add_help=False, hands_over=True, help=text)
    measured = tasks.add_parser("evaluate", help="measure the items that it would suggest")
    add_checkpoint(measured)
    measured.add_argument("--part", default="test", metavar="{val,test}", help="part of the data set")
    measured.add_argument("--top", type=int, nargs="+", default=[20], help="how many items are suggested")
    suggested = tasks.add_parser("suggest", help="suggest items that users do not have yet")
    add_checkpoint(suggested)
    suggested.add_argument("--users", nargs="+", required=True, metavar="NAME", help="names of users, as in the data")
    suggested.add_argument("--top", type=int, default=10, help="how many items are suggested")
    suggested.add_argument(
        "--recall",
        type=float,
        default=argparse.SUPPRESS,
        help="share of them that a clustered search should find (default: all)",
    )
    for task in (measured, suggested):
        add_json_flag(task)
        add_config_flags(task, only=FLAGS)


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    if args.task == "train":
        handed = handed_over(args, "recommend", DEFAULT, ["--model", DEFAULT])
        check_model(handed.model)
        mean_own_files(handed)
        train.run(handed, console)
        return
    network, recipe = load_checkpoint(args.checkpoint)
    if not isinstance(network, Recommender):
        raise InputError(f"checkpoint '{args.checkpoint}' is of {recipe.model}, which recommends nothing")
    found = interactions_of(args, recipe)
    ranker = Ranker.of(network, found.parts["train"])
    (measure if args.task == "evaluate" else suggest)(args, recipe, ranker, found, console)


def check_model(model: str) -> None:
    """Refuse the name of a network that recommends nothing."""
    if model not in list_models() or data_of(model) != "interactions":
        raise InputError(f"--model={model} recommends nothing; leave it out, which is --model={DEFAULT}")


def measure(args: argparse.Namespace, recipe: Recipe, ranker: Ranker, found: Interactions, console: Console) -> None:
    """Print all figures of a part of the data, for each number of items."""
    check_choice("--part", args.part, [part for part in found.parts if part != "train"])
    for k in args.top:
        _check_top(k, found)
    held_out = found.parts[args.part]
    figures = ranker.evaluate(held_out, args.top)
    users = len(held_out[0].unique())
    if args.json:
        facts = {"layer": recipe.layer, "epoch": recipe.epoch, "dataset": recipe.dataset, "part": args.part}
        print_json(console, facts | {"users": users} | figures)
        return
    print_line(console, f"{recipe.layer}, epoch {recipe.epoch}, on {counted(users, 'user')} of {recipe.dataset}:")
    for k in args.top:
        shares = ", ".join(f"{name}@{k} {figures[f'{name}@{k}']:.2%}" for name in FIGURES)
        print_line(console, shares)


def suggest(args: argparse.Namespace, recipe: Recipe, ranker: Ranker, found: Interactions, console: Console) -> None:
    """Print the names of the best items for each user."""
    _check_top(args.top, found)
    users = numbers_of(args.users, found.users)
    with flag_names({"recall": "recall"}):
        best = ranker.suggest(users, args.top, recall=getattr(args, "recall", None))
    names: Mapping[str, list[str]] = dict(zip(args.users, named(best, found.items), strict=True))
    if args.json:
        print_json(console, names)
        return
    for user, items in names.items():
        print_line(console, f"{user}: {', '.join(items) or 'nothing is left'}")


def interactions_of(args: argparse.Namespace, recipe: Recipe) -> Interactions:
    """Return the interactions that a checkpoint was trained on, or those that flags name.

    Raises:
        InputError: their users or items are others.
    """
    config = _images.config_like(args, recipe)
    with flag_names(_images.ARGUMENTS):
        found = read_interactions(config.dataset, Path(config.data_path), config.split or 0)  # at least 0
    shape = (len(found.users), len(found.items))
    evaluate.check_like(recipe, config, found.items, shape, "interaction")
    return found


def _check_top(number: int, found: Interactions) -> None:
    check_at_least("--top", number, 1)
    if number > len(found.items):
        raise InputError(f"--top={number} must be at most {len(found.items)}, the number of items")
