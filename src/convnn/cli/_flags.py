"""Command line flags made from the fields of `TrainConfig`."""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, fields
from typing import Any

from convnn.cli._parser import JoinAction, Parser, PathAction
from convnn.errors import InputError
from convnn.models import list_models
from convnn.nn import LAYERS
from convnn.train import TrainConfig
from convnn.train.config import OF_THE_MACHINE, PUBLISHED_NAMES, defaults_of
from convnn.train.flags import choices_of, option_of, value_type

FEW = 3
"""Up to this many layers, a group of flags is named after the layers that read it."""


def add_config_flags(parser: Parser, *, only: Iterable[str] | None = None) -> None:
    """Add the flags of `TrainConfig`, or some of them, to a parser."""
    selected = None if only is None else set(only)
    groups: dict[str, argparse._ArgumentGroup] = {}
    of_networks = {model: defaults_of(model) for model in list_models("vit*")}
    for f in fields(TrainConfig):
        if selected is None or f.name in selected:
            name = group_of(f)
            if name not in groups:
                groups[name] = parser.add_argument_group(name)
            add_flag(groups[name], f, _defaults(f, of_networks))


def group_of(f: "Field[Any]") -> str:
    """Return the group of a flag; a flag that few layers read is in a group named after them."""
    group: str = f.metadata["group"]
    if group not in ("neighbours", "graphs"):
        return group
    readers = [name for name, entry in LAYERS.items() if f.name in entry.settings]
    if not readers:
        return group
    return f"read by {', '.join(readers)}" if len(readers) <= FEW else f"{group}, read by several layers"


def add_checkpoint(parser: Parser) -> None:
    """Add the checkpoint as the first argument of a parser."""
    parser.add_argument(
        "checkpoint",
        action=PathAction,
        metavar="CHECKPOINT",
        help="checkpoint of a run, such as runs/demo/best.safetensors, or a folder as on the Hugging Face hub",
    )


def add_out_flags(parser: Parser, text: str, default: str | None = None, *, required: bool = False) -> None:
    """Add `--out`, and `--overwrite`, which permits replacing existing files, to a parser."""
    parser.add_argument("--out", action=PathAction, default=default, required=required, help=text)
    parser.add_argument("--overwrite", action="store_true", help="replace existing output")


def add_merge_flag(parser: Parser) -> None:
    """Add `--merge` to a parser."""
    parser.add_argument(
        "--merge",
        action="store_true",
        help="merge parallel kernels and batch normalisation first, which computes the same faster",
    )


def config_from(args: argparse.Namespace, **settings: Any) -> TrainConfig:
    """Return the configuration; `settings` override flags, and flags override the network's defaults.

    Raises:
        InputError: a value is unknown or out of range.
    """
    return TrainConfig(**(given_flags(args) | settings))


def given_flags(args: argparse.Namespace) -> dict[str, Any]:
    """Return the flags of `TrainConfig` that were given."""
    names = {f.name for f in fields(TrainConfig)}
    return {name: value for name, value in vars(args).items() if name in names}


@contextmanager
def flag_names(flags: Mapping[str, str]) -> Iterator[None]:
    """Replace arguments by flags, such as `K=` by `--K=` and `download=True` by `--download`, in errors of input.

    Args:
        flags: names of flags by those of the arguments.
    """

    def flag(argument: re.Match[str]) -> str:
        name = f"--{flags[argument[1]]}"
        return name if argument[2] else f"{name}="

    try:
        yield
    except InputError as error:
        argument = rf"(?<![\w.'/-])({'|'.join(flags)})=(True\b)?"
        raise InputError(re.sub(argument, flag, str(error))) from error


def add_flag(group: argparse._ArgumentGroup, f: "Field[Any]", default: str) -> None:
    """Add the flag of a field to a group of a parser; its help ends with the text about its default."""
    # A flag that is not given is absent from the namespace: its default may depend on the network.
    shared: dict[str, Any] = {"default": argparse.SUPPRESS, "help": f"{f.metadata['help']} ({default})"}
    shared["help"] = shared["help"].replace("%", "%%")
    if value_type(f.type) is bool:
        # --no-FLAG is needed too: a file or the resumed run may have turned the flag on.
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


def _defaults(f: "Field[Any]", of_networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the defaults of a flag, such as "default: cosine; ConvNN_Pos: matmul; vit: matmul"."""
    if f.name == "output_dir":
        return f"default: ./Output/MODEL/LAYER; {TrainConfig.model} of {TrainConfig.layer}: {f.default}"
    general = f.default
    special = [
        f"; {layer}: {entry.settings[f.name]}"
        for layer, entry in LAYERS.items()
        if entry.reads == "maps" and f.name != OF_THE_MACHINE and entry.settings.get(f.name, general) != general
    ]
    for model, defaults in of_networks.items():
        default = defaults.get(f.name, general)
        if default != general and (model == "vit" or default != of_networks["vit"].get(f.name)):
            special.append(f"; {model}: {default}")
    return f"default: {general}{''.join(special)}"
