"""What is here, told once: the facts of every system, which the guide and `convnn layers` print."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convnn.errors import InputError, check_choice

FACTS = "_systems.py"
"""The file of a room in which it registers its families and systems."""
PUBLISHED = "the published code, outputs and all gradients"
"""What many systems were checked against: numbers in float64, which ours differ from by 1e-9 at most."""


@dataclass(frozen=True)
class Family:
    """Systems that belong on one page of the guide.

    Attributes:
        key: its name in code, and that of its page, docs/guide/KEY.md.
        title: for people.
        about: what they have in common, a sentence or two.
    """

    key: str
    title: str
    about: str


@dataclass(frozen=True, kw_only=True)
class System:
    """What the guide says of a layer, function, estimator, loss or network.

    Attributes:
        name: for people, unlike all others.
        family: key of a registered family.
        selects: who the neighbours are.
        weighs: how much each of them counts.
        aggregates: how they are put together.
        paper: where it was published, "arXiv 1234.56789", or whose it is.
        checked: what it was compared with.
        where: the class or function, such as "convnn.nn.ViG2d"; several are separated by blanks.
        layer: its value of `--layer`, where it has one.
        number: its place in the list of published systems that this library is about.
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
        """All three in a line."""
        return f"{self.selects}; {self.weighs}; {self.aggregates}"


FAMILIES: dict[str, Family] = {}
SYSTEMS: dict[str, System] = {}


def register_family(key: str, title: str, about: str) -> None:
    """Make a family known, and with it a page of the guide.

    Args:
        key: its name in code; the page is docs/guide/KEY.md.
        title: for people.
        about: what its systems have in common.

    Raises:
        InputError: the key is taken.
    """
    if key in FAMILIES:
        raise InputError(f"family {key!r} is registered already; choose another key")
    FAMILIES[key] = Family(key, title, about)


def register_system(system: System) -> System:
    """Make a system known to the guide and to `convnn layers`; a layer is registered by `nn.register_layer`.

    Raises:
        InputError: the name is taken, or nobody registered the family.
    """
    check_choice("family", system.family, FAMILIES)
    if system.name in SYSTEMS:
        raise InputError(f"system {system.name!r} is registered already; choose another name")
    SYSTEMS[system.name] = system
    return system


def list_systems(family: str | None = None) -> list[System]:
    """All systems of the library, or those of a family, in the order in which their rooms register them.

    Raises:
        InputError: the family is unknown.
    """
    for room in _rooms():
        importlib.import_module(room)
    if family is not None:
        check_choice("family", family, FAMILIES)
    return [system for system in SYSTEMS.values() if family in (None, system.family)]


def _rooms() -> Iterator[str]:
    """Modules in which rooms register."""
    root = Path(__file__).parent
    for path in sorted(root.rglob(FACTS)):
        yield ".".join((__package__, *path.relative_to(root).with_suffix("").parts))
