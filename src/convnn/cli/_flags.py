"""Flags from the fields of a dataclass, and a parser that answers in one line."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from itertools import takewhile
from typing import Any, NoReturn

from convnn.errors import InputError, did_you_mean
from convnn.files import expand_home
from convnn.models import list_models
from convnn.nn import LAYERS
from convnn.train import TrainConfig
from convnn.train.config import PUBLISHED_NAMES, choices_of, defaults_of, layer_settings, option_of
from convnn.train.config_file import value_type

FLAG = re.compile(r"((?:--|-[a-zA-Z])[^\s=]*)(?:=|$)")
"""What is no value: `--lr` and `-h`, but not `-1` and, as in argparse, nothing with a blank in its name."""


class Parser(argparse.ArgumentParser):
    """No abbreviations; every mistake is an InputError of one sentence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **settings)

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
        self._check_names(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of `argv`.

        Raises:
            InputError: a flag is unknown (naming the nearest) or has a value of the wrong type.
        """
        args, unknown = self.parse_known_args(argv)
        if unknown:
            parser = getattr(args, "parser", self)
            raise InputError(f"unknown argument {unknown[0]}{did_you_mean(unknown[0], parser.flags())}")
        return args

    def flags(self) -> list[str]:
        """All flags that this parser knows."""
        return [option for action in self._actions for option in action.option_strings]

    def _check_names(self, words: Iterable[str]) -> None:
        has_commands = self._subparsers is not None  # what follows a command is the command's to check
        for word in takewhile(lambda word: word != "--" and (word.startswith("-") or not has_commands), words):
            if (match := FLAG.match(word)) and match[1] not in self.flags():
                raise InputError(f"unknown flag {match[1]}{did_you_mean(match[1], self.flags())}")


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


def add_config_flags(parser: Parser, *, only: Iterable[str] | None = None) -> None:
    """Give a parser the flags of `TrainConfig`, or some of them."""
    wanted = None if only is None else set(only)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for f in fields(TrainConfig):
        if wanted is None or f.name in wanted:
            name = f.metadata["group"]
            if name not in groups:
                groups[name] = parser.add_argument_group(name)
            _add_flag(groups[name], f)


def add_out_flags(parser: Parser, text: str, default: str | None = None, *, required: bool = False) -> None:
    """Give a parser `--out`, and `--overwrite`, which lets it replace what is there."""
    parser.add_argument("--out", action=PathAction, default=default, required=required, help=text)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there of --out")


def config_from(args: argparse.Namespace, **settings: Any) -> TrainConfig:
    """The configuration that was asked for; `settings` go before flags, and flags before the network's defaults.

    Raises:
        InputError: a value is unknown or out of range.
    """
    return TrainConfig(**(given_flags(args) | settings))


def given_flags(args: argparse.Namespace) -> dict[str, Any]:
    """The flags of `TrainConfig` that were given."""
    names = {f.name for f in fields(TrainConfig)}
    return {name: value for name, value in vars(args).items() if name in names}


def _add_flag(group: argparse._ArgumentGroup, f: "Field[Any]") -> None:
    # A flag that is not given is absent from what is parsed: its default may depend on the network.
    shared: dict[str, Any] = {"default": argparse.SUPPRESS, "help": f"{f.metadata['help']} ({_defaults(f)})"}
    shared["help"] = shared["help"].replace("%", "%%")
    if f.type is bool:
        # Off too can be said: a file, or the run that is resumed, may say on.
        group.add_argument(f"--{f.name}", action=argparse.BooleanOptionalAction, **shared)
        return
    if f.metadata["without_value"] is not None:
        shared |= {"nargs": "?", "const": f.metadata["without_value"]}
    if f.metadata["option"] is not None:
        shared |= {"action": JoinAction, "metavar": "MODULE"}
    elif choices := choices_of(f):
        shared |= {"metavar": "{" + ",".join(choices) + "}"}
    published = [f"--{theirs}" for theirs, ours in PUBLISHED_NAMES.items() if ours == f.name]
    group.add_argument(option_of(f), *published, dest=f.name, type=value_type(f.type), **shared)


def _defaults(f: "Field[Any]") -> str:
    """Such as "default: cosine; ConvNN_Pos: matmul; vit: matmul"."""
    general = f.default
    special = [
        f"; {layer}: {entry.settings[f.name]}"
        for layer, entry in LAYERS.items()
        if entry.reads == "maps" and f.name in layer_settings() and entry.settings.get(f.name, general) != general
    ]
    for model in list_models("vit*"):
        default = defaults_of(model).get(f.name, general)
        if default != general and (model == "vit" or default != defaults_of("vit").get(f.name)):
            special.append(f"; {model}: {default}")
    return f"default: {general}{''.join(special)}"
