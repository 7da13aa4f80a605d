"""What the table says of a published layer, and which entry a file has."""

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
"""Published names of parameters and buffers, or dotted parts of them, and what they are called here."""


class Refused(Exception):
    """The published layer has an option that ours has not; the sentence says which, in the words of its definition."""


@dataclass(frozen=True)
class Entry:
    """How a published layer, function, loss, estimator or algorithm is built here.

    Attributes:
        build: makes ours from the case: a module, or a function of the inputs. It may raise `Refused`.
        inputs: published names of the tensors that go in, in our order; None goes in for one that the file has not.
        outputs: published names of what comes out, in order. A function may return a dictionary by published names
            instead. Of several outputs without an upstream gradient, the gradients are those of the first.
        names: parameters and buffers: a published name, or any dotted part of one, and what it is called here; parts
            that are not named stay. An empty name drops the part, None sets the parameter aside. Or a function that
            tells the names from the case.
        arrange: parameters under our names, for whatever more they need: split, joined, tied, moved. What it does is
            differentiated, so that gradients are compared under the published names.
        call: how ours is called, where that is not `ours(*inputs)`.
        also: further results by published names, from ours with its parameters: indices, thresholds, steps between.
        gradients: published names of the gradients of inputs where they are neither `grad_<input>` nor `grad_input`.
        aside: tensors that are not compared: what the definition keeps for debugging.
        draws: a context in which ours draws what was drawn.
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
    """Refuse options that are on, each with what the definition says of it.

    Raises:
        Refused: naming the first.
    """
    for name, reason in reasons.items():
        if case.config.get(name):
            raise Refused(f"{name}={case.config[name]!r}: {reason}")


def entry_of(case: Case) -> Entry | None:
    """The entry of its layer; of several of one name, that whose system the folder of the file is named after."""
    name = case.metadata.get("layer", "")
    return _table().get(f"{case.path.parent.name}/{name}") or _table().get(name)


@cache
def _table() -> dict[str, Entry]:
    """The entries of all files in `entries/`, by published name, or `<system>/<name>` where two have the same name."""
    from golden import entries

    table: dict[str, Entry] = {}
    for module in pkgutil.iter_modules(entries.__path__):
        more = importlib.import_module(f"golden.entries.{module.name}").ENTRIES
        if twice := table.keys() & more.keys():
            raise ValueError(f"entries/{module.name}.py has {sorted(twice)}, which another file has already")
        table |= more
    return table
