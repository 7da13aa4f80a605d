"""The registry of layers, by their values of the published `--layer` flag."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from convnn.errors import InputError, check_choice, did_you_mean
from convnn.nn._arguments import OTHER_NAMES
from convnn.nn._extensions import load_packages
from convnn.nn._factory import LayerFactory
from convnn.systems import System, register_system


@dataclass(frozen=True)
class LayerEntry:
    """A layer that networks can be built from.

    Attributes:
        build: function of input and output channels, or for tokens of width and heads, and of settings.
        settings: names of the settings that `build` reads, with their defaults.
        summary: summary in one line.
        reads: "maps" (B, C, H, W) or "tokens" (B, T, D).
        system: its facts for the guide; None for a layer registered only with a summary.
    """

    build: Callable[..., nn.Module]
    settings: dict[str, Any]
    summary: str
    reads: str = "maps"
    system: System | None = None


LAYERS: dict[str, LayerEntry] = {}
OF_THE_NETWORK = ("bias", "device", "dtype")
GEOMETRY = ("stride", "window_size", "dilation", "groups", "padding_mode")
"""Arguments that a network decides for each of its layers, and that are therefore no settings."""
READS = ("maps", "tokens")


def register_layer(
    name: str,
    build: Callable[..., nn.Module],
    facts: System | str,
    *parts: Callable[..., Any],
    reads: str = "maps",
    fixed: Iterable[str] = (),
) -> None:
    """Register a layer for `layer_factory`, and for the command line with `--import` of the module that calls this.

    Args:
        name: the value of `--layer`.
        build: function of input and output channels, or width and heads, and the settings that its signature names.
        facts: its facts for the guide; a summary in one line is enough for a layer of your own.
        parts: further callables to which `build` passes its remaining settings.
        reads: "maps" (B, C, H, W) or "tokens" (B, T, D).
        fixed: settings in the signatures that keep their defaults, regardless of the flags.

    Raises:
        InputError: the name is taken, `reads` has another value, or the family of the facts is not registered.
    """
    check_choice("reads", reads, READS)
    if name in LAYERS:
        raise InputError(f"layer {name!r} is registered already; choose another name")
    settings: dict[str, Any] = {}
    omitted = (*OF_THE_NETWORK, *(GEOMETRY if reads == "maps" else ()), *fixed)
    for part in (build, *parts):
        settings |= keyword_defaults(part, omitted)
    system = None if isinstance(facts, str) else register_system(replace(facts, layer=name))
    summary = facts if isinstance(facts, str) else facts.steps
    LAYERS[name] = LayerEntry(build, settings, summary, reads, system)


def layer_factory(name: str, **settings: Any) -> LayerFactory:
    """Return the function from two numbers to a layer with which a network builds itself.

    The numbers are input and output channels of a layer on maps, width and heads of a layer on tokens. A network that
    decides a setting itself, such as the step of each stage, passes it by name; a layer that does not read it ignores
    it.

    Args:
        name: one of `list_layers()`.
        settings: settings of any layer; those that this one does not read are ignored, as flags are.

    Raises:
        InputError: the layer or a setting is unknown.

    Example:
        >>> layer_factory("Branching", K=5, branch_ratio=0.25)(16, 32).extra_repr()
        '16, 32, branch_ratio=0.25'
    """
    check_layer_name("layer", name)
    check_settings(settings, *(entry.settings for entry in LAYERS.values()))
    return partial(_build, LAYERS[name], settings)


def _build(entry: LayerEntry, settings: dict[str, Any], *widths: int, **of_the_network: Any) -> nn.Module:
    return entry.build(*widths, **read_by(entry.build, entry.settings, settings, of_the_network))


def read_by(
    build: Callable[..., nn.Module], read: Iterable[str], settings: dict[str, Any], of_the_network: dict[str, Any]
) -> dict[str, Any]:
    """Return what a layer reads of the settings, and of those that a network decides, among them whether it has a bias.

    Args:
        build: what builds the layer.
        read: names of the settings that it reads.
        settings: settings of any layer.
        of_the_network: what the network decides, which comes first.
    """
    known = set(read) | {name for name in OF_THE_NETWORK if name in inspect.signature(build).parameters}
    return {key: value for key, value in (settings | of_the_network).items() if key in known}


def check_layer_name(argument: str, name: str) -> None:
    """Refuse the name of a layer that neither this package nor an installed one has.

    Raises:
        InputError: the name is unknown; the message names the argument and the nearest name.
    """
    if name not in LAYERS:
        load_packages()
    check_choice(argument, name, LAYERS)


def list_layers(reads: str | None = None) -> list[str]:
    """List all layers, or those that read "maps" or "tokens", including those of installed packages."""
    load_packages()
    return [name for name, entry in LAYERS.items() if reads in (None, entry.reads)]


def keyword_defaults(function: Callable[..., Any], omitted: Iterable[str] = OF_THE_NETWORK) -> dict[str, Any]:
    """Return the settings that a function or class names in its signature, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in omitted}


def check_settings(settings: Iterable[str], *known: Iterable[str]) -> None:
    """Refuse an unknown setting.

    Raises:
        InputError: a setting is unknown; the message names the nearest.
    """
    everything = {setting for names in known for setting in names}
    for setting in settings:
        if setting not in everything:
            ours = OTHER_NAMES.get(setting)
            hint = f"; did you mean {ours!r}?" if ours in everything else did_you_mean(setting, everything)
            raise InputError(f"setting {setting!r} is unknown{hint}")
