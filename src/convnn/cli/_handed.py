"""What commands of applications share: their `train` and `evaluate` are `convnn train` and `convnn evaluate`."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from convnn.cli import command_parser, evaluate, train
from convnn.cli._flags import given_flags
from convnn.cli._parser import Parser, TaskParser


def add_tasks(parser: Parser, training: str, evaluation: str) -> Any:
    """Add the tasks `train` and `evaluate` to a parser, with their helps, and return what others are added to."""
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", dest="task", required=True, parser_class=TaskParser)
    for name, text in (("train", training), ("evaluate", evaluation)):
        tasks.add_parser(name, add_help=False, hands_over=True, help=f"{text}: the flags of convnn {name}")
    return tasks


def handed_over(args: argparse.Namespace, command: str, before: Sequence[str] = ()) -> argparse.Namespace:
    """Parse the words after `convnn COMMAND train` or `evaluate` as the command of that name does.

    Args:
        args: what was parsed so far: `task`, `words` and `interruption`.
        command: name of the application.
        before: words to put before those that were given.
    """
    words = [*before, *args.words]
    handed = command_parser(args.task, prog=f"convnn {command} {args.task}").parse_strictly(words)
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
    folder: str | None = None,
) -> None:
    """Do the tasks that are handed over.

    Args:
        args: as in `handed_over`.
        console: console to print on.
        command: name of the application.
        default: name of the network that is trained if flags alone say what to train, and name none.
        check_model: refuses a name of a network that `--model` gives.
        accept, further: of `evaluate.run`.
        folder: data set that `--data_path` alone means; None leaves it to `convnn train`.
    """
    handed = handed_over(args, command)
    if args.task == "evaluate":
        evaluate.run(handed, console, accept=accept, further=further)
        return
    given, begins = given_flags(handed), begins_by_flags(handed)
    if "model" in given:
        check_model(given["model"])
    elif begins:
        handed.model = default
    if folder is not None and begins and "data_path" in given and "dataset" not in given:
        handed.dataset = folder
    train.run(handed, console)


def begins_by_flags(handed: argparse.Namespace) -> bool:
    """Return whether flags alone say what to train: there is no configuration file, and no run to go on with."""
    return handed.config is None and not given_flags(handed).get("resume")
