"""The entries of the table of published layers, and the entry of a file."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor

from golden.case import Case

Names = Mapping[str, str | None]
"""Published names of parameters and buffers, or dotted parts of them, with their names here."""


class Refused(Exception):
    """The published layer has an option that ours lacks; the message names it in the words of its definition."""


@dataclass(frozen=True)
class Entry:
    """How a published layer, function, loss, estimator or algorithm is built here.

    Attributes:
        build: function that builds ours from the case: a module, or a function of the inputs. It may raise `Refused`.
        inputs: published names of the input tensors, in our order; an input that the file lacks is None.
        outputs: published names of the outputs, in order. A function may return a dictionary by published names
            instead. Of several outputs without an upstream gradient, the gradients are those of the first.
        names: published names of parameters and buffers, or any dotted parts of them, with their names here; other
            parts stay. An empty name drops the part, None ignores the parameter. Or a function of the case that returns
            the names.
        arrange: function of the parameters under our names, to split, join, tie or move them. It is differentiated, so
            that gradients are compared under the published names.
        call: how ours is called, if not as `ours(*inputs)`.
        also: further results by published names, from ours with its parameters: indices, thresholds, intermediate
            results.
        gradients: published names of input gradients that are neither `grad_<input>` nor `grad_input`.
        aside: tensors that are not compared, such as debugging data of the definition.
        draws: context in which ours draws the published random numbers.
        tolerance: the largest error, as a share of the largest entry of each tensor.
    """

    build: Callable[[Case], Callable[..., Any]]
    inputs: Sequence[str] = ("input",)
    outputs: Sequence[str] = ("output",)
    names: Names | Callable[[Case], Names] = field(default_factory=dict)
    arrange: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] = lambda named, _: named
    call: Callable[..., Any] = lambda ours, *inputs: ours(*inputs)
    also: Callable[[Any, Case], Mapping[str, Tensor]] = lambda *_: {}
    gradients: Mapping[str, str] = field(default_factory=dict)
    aside: Sequence[str] = ()
    draws: Callable[[Case], AbstractContextManager] = lambda _: nullcontext()
    tolerance: float = 1e-9


def refuse(case: Case, **reasons: str) -> None:
    """Refuse options that are set, each with a reason from the definition.

    Raises:
        Refused: an option is set; the message names the first.
    """
    for name, reason in reasons.items():
        if case.config.get(name):
            raise Refused(f"{name}={case.config[name]!r}: {reason}")


def entry_of(case: Case) -> Entry | None:
    """Return the entry of a case's layer; if several share the name, the one whose system names the file's folder."""
    name = case.metadata.get("layer", "")
    return _table().get(f"{case.path.parent.name}/{name}") or _table().get(name)


@cache
def _table() -> dict[str, Entry]:
    """Return the entries of all files in `entries/`, by published name, or `<system>/<name>` for duplicate names."""
    from golden import entries

    table: dict[str, Entry] = {}
    for module in pkgutil.iter_modules(entries.__path__):
        more = importlib.import_module(f"golden.entries.{module.name}").ENTRIES
        if twice := table.keys() & more.keys():
            raise ValueError(f"entries/{module.name}.py has {sorted(twice)}, which another file has already")
        table |= more
    return table
