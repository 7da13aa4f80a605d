"""The facts about every system, which the guide and `convnn layers` print."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convnn.errors import InputError, check_choice

FACTS = "_systems.py"
"""The file in which a package registers its families and systems."""
PUBLISHED = "the published code, outputs and all gradients"
"""The reference of many systems: float64 numbers from which ours differ by at most 1e-9."""


@dataclass(frozen=True)
class Family:
    """A family of systems, which share a page of the guide.

    Attributes:
        key: name in code, and of its page, docs/guide/KEY.md.
        title: title for readers.
        about: what its systems have in common, in a sentence or two.
    """

    key: str
    title: str
    about: str


@dataclass(frozen=True, kw_only=True)
class System:
    """The facts about a layer, function, estimator, loss or network in the guide.

    Attributes:
        name: unique name for readers.
        family: key of a registered family.
        selects: which positions are the neighbours.
        weighs: how the neighbours are weighted.
        aggregates: how their values are combined.
        paper: publication, such as "arXiv 1234.56789", or author.
        checked: what it was compared with.
        where: the class or function, such as "convnn.nn.ViG2d"; several are separated by spaces.
        layer: its value of `--layer`, if it has one.
        number: its number in the list of published systems that this library covers.
    """

    name: str
    family: str
    selects: str
    weighs: str
    aggregates: str
    paper: str
    checked: str
    where: str
    layer: str | None = None
    number: int | None = None

    @property
    def steps(self) -> str:
        """All three steps in one line."""
        return f"{self.selects}; {self.weighs}; {self.aggregates}"


FAMILIES: dict[str, Family] = {}
SYSTEMS: dict[str, System] = {}


def register_family(key: str, title: str, about: str) -> None:
    """Register a family, which adds a page to the guide.

    Args:
        key: name in code; the page is docs/guide/KEY.md.
        title: title for readers.
        about: what its systems have in common.

    Raises:
        InputError: the key is taken.
    """
    if key in FAMILIES:
        raise InputError(f"family {key!r} is registered already; choose another key")
    FAMILIES[key] = Family(key, title, about)


def register_system(system: System) -> System:
    """Register a system for the guide and `convnn layers`; layers are registered by `nn.register_layer`.

    Raises:
        InputError: the name is taken, or the family is not registered.
    """
    check_choice("family", system.family, FAMILIES)
    if system.name in SYSTEMS:
        raise InputError(f"system {system.name!r} is registered already; choose another name")
    SYSTEMS[system.name] = system
    return system


def list_systems(family: str | None = None) -> list[System]:
    """Return all systems of the library, or those of a family, in the order of registration.

    Raises:
        InputError: the family is unknown.
    """
    for module in _fact_modules():
        importlib.import_module(module)
    if family is not None:
        check_choice("family", family, FAMILIES)
    return [system for system in SYSTEMS.values() if family in (None, system.family)]


def _fact_modules() -> Iterator[str]:
    """Yield the modules that register families and systems."""
    root = Path(__file__).parent
    for path in sorted(root.rglob(FACTS)):
        yield ".".join((__package__, *path.relative_to(root).with_suffix("").parts))
