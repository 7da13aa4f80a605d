"""The facts of every system, stated once: the guide, the cheat sheet and `convnn layers` print them."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convnn.errors import InputError, check_choice

FACTS = "_systems.py"
"""The file in which a package registers its families and systems."""
PUBLISHED = "the published code, outputs and all gradients"
"""What many systems were checked against: numbers in float64, from which ours differ by at most 1e-9."""


@dataclass(frozen=True)
class Family:
    """Systems that share a page of the guide.

    Attributes:
        key: its name in code, and that of its page, docs/guide/KEY.md.
        title: its name in prose.
        about: what the systems have in common, in a sentence or two.
    """

    key: str
    title: str
    about: str


@dataclass(frozen=True, kw_only=True)
class System:
    """What the guide says about a layer, function, estimator, loss or network.

    Attributes:
        name: its name in prose, which is unique.
        family: key of a registered family.
        selects: who the neighbours are.
        weighs: how much each of them counts.
        aggregates: how they are put together.
        paper: where it was published, "arXiv 1234.56789", or who made it.
        checked: what it was compared with.
        where: the class or function, such as "convnn.nn.ViG2d"; several are separated by blanks.
        layer: its value of `--layer`, where it has one.
        number: its place in the list of published systems that this library covers.
        published: what its paper or the published code calls it.
        when: in what case to take it, in a few words.
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
    published: str = ""
    when: str = ""

    @property
    def steps(self) -> str:
        """All three steps in one line."""
        return f"{self.selects}; {self.weighs}; {self.aggregates}"


FAMILIES: dict[str, Family] = {}
SYSTEMS: dict[str, System] = {}


def register_family(key: str, title: str, about: str) -> None:
    """Register a family, which gets a page of the guide.

    Args:
        key: its name in code; the page is docs/guide/KEY.md.
        title: its name in prose.
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
    """List all systems, or those of a family, in the order of registration.

    Raises:
        InputError: the family is unknown.
    """
    _read_facts()
    if family is not None:
        check_choice("family", family, FAMILIES)
    return [system for system in SYSTEMS.values() if family in (None, system.family)]


def list_families() -> list[Family]:
    """List all families, in the order of registration."""
    _read_facts()
    return list(FAMILIES.values())


def _read_facts() -> None:
    for module in _fact_modules():
        importlib.import_module(module)


def _fact_modules() -> Iterator[str]:
    """Yield the modules in which packages register their systems."""
    root = Path(__file__).parent
    for path in sorted(root.rglob(FACTS)):
        yield ".".join((__package__, *path.relative_to(root).with_suffix("").parts))
