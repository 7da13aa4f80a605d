"""What commands of applications share: their `train` and `evaluate` are `convnn train` and `convnn evaluate`."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import Console

from convnn.cli import command_parser, evaluate, train
from convnn.cli._flags import given_flags
from convnn.cli._help import brief_help
from convnn.cli._images import kind_read
from convnn.cli._parser import Parser, TaskParser
from convnn.data import IMAGE_PAIRS
from convnn.errors import InputError
from convnn.train import TrainConfig

OWN_FILES = {
    "clips": "frames",
    IMAGE_PAIRS: "flowfolder",
    "clouds": "ply",
    "photographs": "transforms",
    "scenes": "scenes",
    "interactions": "interactions",
    "triples": "triples",
}
"""The data set of one's own files, by what a network reads."""


def add_tasks(parser: Parser, training: str, evaluation: str) -> Any:
    """Add the tasks `train` and `evaluate` to a parser, with their helps, and return what others are added to."""
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", dest="task", required=True, parser_class=TaskParser)
    for name, text in (("train", training), ("evaluate", evaluation)):
        tasks.add_parser(name, add_help=False, hands_over=True, help=f"{text}: the flags of convnn {name}")
    return tasks


def handed_over(args: argparse.Namespace, command: str, usual: str, before: Sequence[str] = ()) -> argparse.Namespace:
    """Parse the words after `convnn COMMAND train` or `evaluate` as the command of that name does.

    Args:
        args: what was parsed so far: `task`, `words` and `interruption`.
        command: name of the application.
        usual: the network that the help of `train` is of, if none is named.
        before: words to put before those that were given.
    """
    parser = command_parser(args.task, prog=f"convnn {command} {args.task}")
    if args.task == "train":
        parser.brief = partial(brief_help, parser.prog, usual=usual)
    handed = parser.parse_strictly([*before, *args.words])
    handed.interruption = args.interruption
    return handed


def train_or_evaluate(
    args: argparse.Namespace,
    console: Console,
    command: str,
    *,
    default: str,
    check_model: Callable[[str], None],
    accept: evaluate.Acceptance,
    further: evaluate.Further | None = None,
) -> None:
    """Do the tasks that are handed over.

    Args:
        args: as in `handed_over`.
        console: console to print on.
        command: name of the application.
        default: name of the network that is trained if flags alone say what to train, and name none.
        check_model: refuses a name of a network that `--model` gives.
        accept, further: of `evaluate.run`.
    """
    handed = handed_over(args, command, default)
    if args.task == "evaluate":
        evaluate.run(handed, console, accept=accept, further=further)
        return
    train_network(handed, console, default, check_model)


def train_network(
    handed: argparse.Namespace, console: Console, default: str, check_model: Callable[[str], None]
) -> None:
    """Train as `convnn train` does, by default another network, and only one that an application accepts.

    Args:
        handed: all flags of training.
        console: console to print on.
        default, check_model: as in `train_or_evaluate`.
    """
    given = given_flags(handed)
    if "model" in given:
        check_model(given["model"])
    elif begins_by_flags(handed):
        handed.model = default
    mean_own_files(handed)
    train.run(handed, console, acceptance(handed, lambda config: check_model(config.model)))


def acceptance(handed: argparse.Namespace, check: train.Acceptance) -> train.Acceptance:
    """Return a check of flags whose message names the run or the file that they come from, if it is not the words."""
    resumed = given_flags(handed).get("resume")
    named = (("--config", handed.config), ("--resume", resumed))
    source = next((f"{flag}={value}: " for flag, value in named if value), "")

    def accept(config: TrainConfig) -> None:
        try:
            check(config)
        except InputError as error:
            raise InputError(f"{source}{error}") from None

    return accept


def mean_own_files(handed: argparse.Namespace) -> None:
    """Take `--data_path` alone to mean files of one's own, where another data set would not look at it."""
    given = given_flags(handed)
    if begins_by_flags(handed) and "data_path" in given and "dataset" not in given:
        own = OWN_FILES.get(kind_read(given["model"]))
        if own is not None:
            handed.dataset = own


def begins_by_flags(handed: argparse.Namespace) -> bool:
    """Return whether flags alone say what to train: there is no configuration file, and no run to go on with."""
    return handed.config is None and not given_flags(handed).get("resume")
