"""What commands of applications share: their `train` and `evaluate` are `convnn train` and `convnn evaluate`."""

import argparse
from collections.abc import Sequence

from convnn.cli import command_parser
from convnn.cli._flags import given_flags


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


def begins_by_flags(handed: argparse.Namespace) -> bool:
    """Return whether flags alone say what to train: there is no configuration file, and no run to go on with."""
    return handed.config is None and not given_flags(handed).get("resume")
