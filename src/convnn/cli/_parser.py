"""A parser that answers in one line; imports nothing that takes time."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NoReturn

from convnn.errors import InputError, did_you_mean
from convnn.files import expand_home

FLAG = re.compile(r"((?:--|-[a-zA-Z])[^\s=]*)(?:=|$)")
"""What is no value: `--lr` and `-h`, but not `-1` and, as in argparse, nothing with a blank in its name."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, and the names of commands beside what they do."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class Parser(argparse.ArgumentParser):
    """No abbreviations; every mistake is an InputError of one sentence.

    Attributes:
        brief: what `--help` prints instead of all flags, given the arguments.
    """

    brief: Callable[[Sequence[str]], str] | None = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(message.removeprefix("argument "))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown flag is found before the flag is missed that it was meant to be.

        Raises:
            InputError: a flag is unknown (naming the nearest) or has a value of the wrong type.
        """
        self._words = list(sys.argv[1:] if args is None else args)
        self._check_names(self._words)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """The text of `--help`."""
        return super().format_help() if self.brief is None else self.brief(self._words)

    def format_all(self) -> str:
        """The text of `--help-all`: every flag."""
        return super().format_help()

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of `argv`.

        Raises:
            InputError: a flag is unknown (naming the nearest) or has a value of the wrong type.
        """
        parse = self.parse_known_intermixed_args if self._subparsers is None else self.parse_known_args
        args, unknown = parse(argv)
        if unknown:
            raise InputError(f"unknown argument {unknown[0]}{did_you_mean(unknown[0], self.flags())}")
        return args

    def flags(self) -> list[str]:
        """All flags that this parser knows."""
        return [option for action in self._actions for option in action.option_strings]

    def _check_names(self, words: Iterable[str]) -> None:
        has_commands = self._subparsers is not None  # what follows a command is the command's to check
        for word in takewhile(lambda word: word != "--" and (word.startswith("-") or not has_commands), words):
            if (match := FLAG.match(word)) and match[1] not in self.flags():
                raise InputError(f"unknown flag {match[1]}{did_you_mean(match[1], self.flags())}")


class HelpAllAction(argparse.Action):
    """Shows every flag, and ends."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Print."""
        print(parser.format_all(), end="")
        parser.exit()


def add_json_flag(parser: Parser) -> None:
    """Give a parser `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


class PathAction(argparse.Action):
    """Keeps paths, those of homes written out, and refuses an empty one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Keep a path, or a list of them.

        Raises:
            InputError: a path is empty, or there is no such home.
        """
        name = option or str(self.metavar or self.dest)
        is_list = isinstance(values, list)
        paths = [expand_home(value, name) for value in (values if is_list else [values])]
        setattr(namespace, self.dest, paths if is_list else paths[0])


class JoinAction(argparse.Action):
    """Keeps all values of a flag that is given several times, with commas between them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Add a value."""
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")
