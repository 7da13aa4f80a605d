"""The short form of `convnn train --help`, and of the `train` of an application."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from typing import Any

from convnn.cli._flags import add_flag
from convnn.cli._images import sets_of
from convnn.errors import ConvnnError
from convnn.models import check_layer, check_model, default_layer, layer_defaults, model_settings
from convnn.train import TrainConfig

GROUPS = {
    "what": ("model", "layer", "dataset", "data_path", "resize", "augment", "init_from"),
    "where": ("output_dir", "device", "seed"),
    "how long": ("num_epochs", "batch_size", "lr", "patience", "resume"),
}

LONG_CHOICES = {
    "layer": "layer it is built from: a name from convnn layers",
}
"""Flags with too many values for the short form; other commands list them."""

EXAMPLES = """\
examples:
  {prog} --dataset digits --model resnet18 --width 0.25 --num_epochs 5 --output_dir runs/first
  {prog} --dataset imagefolder --data_path photos --resize 64 --model timm:resnet18 --output_dir runs/photos
  {prog} --resume runs/first --num_epochs 10

"""
LISTS = """\
{prog} --help-all lists all {count} flags, {prog} --layer NAME --help the flags of another layer;
convnn models lists the networks, convnn layers the layers."""


def brief_help(prog: str, words: Sequence[str], usual: str = TrainConfig.model) -> str:
    """Return the short help: the main flags, those that this network and its layer read, and examples.

    Args:
        prog: name of the program, such as "convnn train".
        words: arguments, which may name a network and a layer.
        usual: the network that is trained if none is named.
    """
    model, layer = _model_and_layer(words, usual)
    usually = TrainConfig(model=model, layer=layer)
    defaults = {f.name: getattr(usually, f.name) for f in fields(TrainConfig)}
    own = [name for name in layer_defaults(model, layer) if name in defaults and name != "backend"]  # of the machine
    groups = GROUPS | {
        f"flags of --layer {layer}": own,
        f"flags of --model {model}": [name for name in model_settings(model) if name in defaults and name not in own],
    }
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [--model MODEL] [--layer LAYER] [FLAGS]",
        description="Train a network.",
        epilog=((EXAMPLES if usual == TrainConfig.model else "") + LISTS).format(prog=prog, count=len(defaults)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    for title, names in groups.items():
        _add(parser, title, names, defaults)
    return parser.format_help()


def _model_and_layer(words: Sequence[str], usual: str) -> tuple[str, str]:
    """Return the network and the layer that the arguments name, or the defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--model", nargs="?", default=usual)
    parser.add_argument("--layer", nargs="?")
    found = parser.parse_known_args(words)[0]
    try:
        check_model(found.model, "--")
        check_layer(found.model, layer := found.layer or default_layer(found.model), "--")
    except ConvnnError:
        return _model_and_layer([], usual)
    return found.model, layer


def _add(parser: argparse.ArgumentParser, title: str, names: Iterable[str], defaults: dict[str, Any]) -> None:
    group = parser.add_argument_group(title)
    by_name: dict[str, Field[Any]] = {f.name: f for f in fields(TrainConfig)}
    for name in names:
        add_flag(group, by_name[name], f"default: {defaults[name]}")
    for action in group._group_actions:
        if action.dest == "dataset":
            action.metavar = "{" + ",".join(sets_of(defaults["model"])) + "}"
        if action.dest in LONG_CHOICES:
            action.metavar = action.dest.upper()
            action.help = f"{LONG_CHOICES[action.dest]} (default: {defaults[action.dest]})"
