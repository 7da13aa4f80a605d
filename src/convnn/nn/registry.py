"""The registry of layers, by their values of the published `--layer` flag."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import nn

from convnn.errors import InputError, check_choice, did_you_mean
from convnn.nn._arguments import OTHER_NAMES
from convnn.nn._extensions import load_packages
from convnn.systems import System, register_system


@dataclass(frozen=True)
class LayerEntry:
    """A layer that networks can be built from.

    Attributes:
        build: function of input and output channels, or for tokens of width and heads, and of settings.
        settings: names of the settings that `build` reads, with their defaults.
        summary: summary in one line.
        reads: "maps" (B, C, H, W), "tokens" (B, T, D), "graphs", (N, C) and edge_index (2, E), "interactions",
            edge_index (2, E) of users and items, or "triples" (B, 3).
        system: its facts for the guide; None for a layer registered only with a summary.
        of_network: further arguments that `build` reads, which only a network decides, such as the stride.
    """

    build: Callable[..., nn.Module]
    settings: dict[str, Any]
    summary: str
    reads: str = "maps"
    system: System | None = None
    of_network: frozenset[str] = frozenset()


LAYERS: dict[str, LayerEntry] = {}
OF_AXES = {1: "sequences", 2: "maps", 3: "volumes"}
"""What layers on maps read, by the number of axes."""
_FORMS: dict[str, Callable[[LayerEntry], LayerEntry]] = {}
"""How a layer on graphs becomes one on maps, by what those are called in `OF_AXES`, or on "tokens"."""
OF_THE_NETWORK = ("bias", "device", "dtype")
GEOMETRY = ("stride", "window_size", "dilation", "groups", "padding_mode")
"""Arguments that a network decides for each of its layers, and that are therefore no settings."""
READS = ("maps", "tokens", "graphs", "interactions", "triples", "mixtures")


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
        build: function of input and output channels, or width and heads, or of the numbers of users and items, and
            the settings that its signature names.
        facts: its facts for the guide; a summary in one line is enough for a layer of your own.
        parts: further callables to which `build` passes its remaining settings.
        reads: "maps" (B, C, H, W), "tokens" (B, T, D), "graphs", (N, C) and edge_index (2, E), "interactions",
            edge_index (2, E) of users and items, "triples" (B, 3), or "mixtures", as `convnn.ops.mixtures.Mixture`.
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
    of_network = frozenset(keyword_defaults(build, ())) & {*omitted}
    LAYERS[name] = LayerEntry(build, settings, summary, reads, system, of_network)


def register_form(on: str, form: Callable[[LayerEntry], LayerEntry]) -> None:
    """Register how layers that read graphs are built into networks that read something else."""
    _FORMS[on] = form


def entry_for(name: str, on: str | None = None) -> LayerEntry:
    """Return the entry of a layer as a network has it whose layers read this; None: as it is registered.

    It differs for layers that read graphs: elsewhere they have the settings of the search that finds the graph, too.
    """
    entry = LAYERS[name]
    return _FORMS[on](entry) if on in _FORMS and entry.reads == "graphs" else entry


@dataclass(frozen=True)
class NamedLayer:
    """A layer factory that knows which layer it makes, so that a network can tell its own from others.

    Attributes:
        name: the value of `--layer`.
        given: settings, some of which the layer may not read.
        build: what builds its form for maps of another number of axes; None is that of images.
        on: what the layers of the network read, for those that read graphs; see `entry_for`.
    """

    name: str
    given: dict[str, Any]
    build: Callable[..., nn.Module] | None = None
    on: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the layer reads."""
        entry = entry_for(self.name, self.on)
        return entry.settings | {key: value for key, value in self.given.items() if key in entry.settings}

    def __call__(self, *widths: int, **of_the_network: Any) -> nn.Module:
        """Return the layer; it ignores settings that it does not read."""
        entry, settings = entry_for(self.name, self.on), self.given | of_the_network
        read = {key: value for key, value in settings.items() if key in entry.settings}
        read |= {key: value for key, value in of_the_network.items() if key in entry.of_network}
        return (self.build or entry.build)(*widths, **read)


def layer_factory(name: str, *, on: str | None = None, **settings: Any) -> NamedLayer:
    """Return the function from two numbers to a layer with which a network builds itself.

    The numbers are input and output channels of a layer on maps, width and heads of a layer on tokens. A network that
    decides a setting itself, such as the step of each stage, passes it by name; a layer that does not read it ignores
    it.

    Args:
        name: one of `list_layers()`.
        on: what the layers of the network read, "maps", "sequences", "volumes" or "tokens"; a layer that reads graphs
            then gets that of the K most similar positions. None is the layer as it is registered.
        settings: settings of any layer; those that this one does not read are ignored, as flags are.

    Raises:
        InputError: the layer or a setting is unknown.

    Example:
        >>> layer_factory("Branching", K=5, branch_ratio=0.25)(16, 32).extra_repr()
        '16, 32, branch_ratio=0.25'
    """
    check_layer_name("layer", name)
    check_settings(settings, all_settings())
    return NamedLayer(name, settings, on=on)


def check_layer_name(argument: str, name: str) -> None:
    """Refuse the name of a layer that neither this package nor an installed one has.

    Raises:
        InputError: the name is unknown; the message names the argument and the nearest name.
    """
    if name not in LAYERS:
        load_packages()
    if name not in LAYERS:
        hint = did_you_mean(_name_of_class(name), LAYERS)
        raise InputError(f"{argument}={name!r} is not one of the {len(LAYERS)} layers that convnn layers lists{hint}")


def _name_of_class(name: str) -> str:
    """Return the name of the layer whose class is called so, or else the name itself."""
    systems = [entry.system for entry in LAYERS.values() if entry.system is not None]
    classes = {system.where.split()[0].rpartition(".")[2]: system.layer for system in reversed(systems)}
    return classes.get(name) or name


def list_layers(reads: str | None = None) -> list[str]:
    """List all layers, or those that read one of `READS`, including those of installed packages."""
    load_packages()
    return [name for name, entry in LAYERS.items() if reads in (None, entry.reads)]


def all_settings() -> set[str]:
    """Return the names of the settings that any layer reads, on anything."""
    entries = [form(entry) for entry in LAYERS.values() if entry.reads == "graphs" for form in _FORMS.values()]
    return {setting for entry in (*LAYERS.values(), *entries) for setting in entry.settings}


def keyword_defaults(function: Callable[..., Any], omitted: Iterable[str] = OF_THE_NETWORK) -> dict[str, Any]:
    """Return the settings that a function or class names in its signature, with their defaults."""
    return {name: default for name, default in _defaults(function) if name not in omitted}


@cache
def _defaults(function: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
    """Return what of a signature has defaults, which every network that is built asks of all layers."""
    parameters = inspect.signature(function).parameters.values()
    return tuple((p.name, p.default) for p in parameters if p.default is not p.empty)


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
