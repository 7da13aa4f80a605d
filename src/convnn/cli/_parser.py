"""An argument parser with one-line errors; it imports nothing slow."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NoReturn

from convnn.errors import InputError, did_you_mean
from convnn.files import expand_home

FLAG = re.compile(r"((?:--|-[a-zA-Z])[^\s=]*)(?:=|$)")
"""A flag such as `--lr` or `-h`; not a value such as `-1` and, as in argparse, not a word that contains a blank."""


SYNONYMS = {"--learning-rate": "--lr", "--learning_rate": "--lr"}
"""Flags of other programs, of which the nearest name is another thing."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """A formatter that shows defaults and aligns descriptions close to the names."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, whose every error is an `InputError` of one sentence.

    Attributes:
        brief: function of the arguments that returns the text of `--help`; None for the full text.
    """

    brief: Callable[[Sequence[str]], str] | None = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise an error instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(message.removeprefix("argument "))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but report an unknown flag before a missing one, which it may be a misspelling of.

        Raises:
            InputError: a flag is unknown (the message names the nearest) or has a value of the wrong type.
        """
        self._words = list(sys.argv[1:] if args is None else args)
        self._check_names(self._words)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """Return the text of `--help`."""
        return super().format_help() if self.brief is None else self.brief(self._words)

    def format_all(self) -> str:
        """Return the text of `--help-all`, with every flag."""
        return super().format_help()

    def parse_strictly(self, argv: Sequence[str], namespace: argparse.Namespace | None = None) -> argparse.Namespace:
        """Parse all of `argv`, into a namespace if one is given.

        Raises:
            InputError: a flag is unknown (the message names the nearest) or has a value of the wrong type.
        """
        parse = self.parse_known_intermixed_args if self._subparsers is None else self.parse_known_args
        args, unknown = parse(argv, namespace)
        if unknown:
            raise InputError(f"unknown argument {unknown[0]}{did_you_mean(unknown[0], self.flags())}")
        return args

    def flags(self) -> list[str]:
        """Return all flags of this parser, and of the commands below it."""
        own = [option for action in self._actions for option in action.option_strings]
        return list(dict.fromkeys([*own, *(flag for one in self.commands().values() for flag in one.flags())]))

    def commands(self) -> dict[str, "Parser"]:
        """Return the parsers of the commands below this one, by name."""
        if self._subparsers is None:
            return {}
        (action,) = self._subparsers._group_actions
        return dict(action.choices or {})

    def _check_names(self, words: Iterable[str]) -> None:
        has_commands = self._subparsers is not None  # the command itself checks what follows it
        for word in takewhile(lambda word: word != "--" and (word.startswith("-") or not has_commands), words):
            if (match := FLAG.match(word)) and match[1] not in self.flags():
                meant = SYNONYMS.get(match[1], match[1])
                raise InputError(f"unknown flag {match[1]}{did_you_mean(meant, self.flags())}")


class TaskParser(Parser):
    """The parser of a task of a command.

    Args:
        hands_over: leave the words as they are, in `words`, to a parser that is made when they are known; only
            training, for one, has all flags.
        settings: those of any parser.
    """

    def __init__(self, *, hands_over: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.hands_over = hands_over

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as any other parser, or keep the words."""
        if self.hands_over:
            return argparse.Namespace(words=list(args)), []
        return super().parse_known_args(args, namespace)


class HelpAllAction(argparse.Action):
    """An action that prints every flag and exits."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Print all flags and exit."""
        print(parser.format_all(), end="")
        parser.exit()


def add_json_flag(parser: Parser) -> None:
    """Add `--json` to a parser."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


class PathAction(argparse.Action):
    """An action that stores paths with `~` expanded, and refuses empty ones."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Store a path, or a list of paths.

        Raises:
            InputError: a path is empty, or its home folder does not exist.
        """
        name = option or str(self.metavar or self.dest)
        is_list = isinstance(values, list)
        paths = [expand_home(value, name) for value in (values if is_list else [values])]
        setattr(namespace, self.dest, paths if is_list else paths[0])


class JoinAction(argparse.Action):
    """An action that joins the values of a repeated flag with commas."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Add a value."""
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")
