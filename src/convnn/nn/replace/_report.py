"""Report on the replacement of the layers of a network."""

from dataclasses import dataclass
from typing import NamedTuple

from convnn.words import counted


class Fate(NamedTuple):
    """The outcome for one layer.

    Attributes:
        name: its path in the model.
        old: the old class.
        new: the new class; None if the layer was left.
        reason: why it was left; empty if it was replaced.
    """

    name: str
    old: str
    new: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class ReplacementReport:
    """The outcome for every layer that could have been replaced; as text, one line each.

    Attributes:
        fates: outcomes in the order of the model.
    """

    fates: tuple[Fate, ...]

    @property
    def replaced(self) -> list[Fate]:
        """The layers that were replaced."""
        return [fate for fate in self.fates if fate.new is not None]

    @property
    def left(self) -> list[Fate]:
        """The layers that were left."""
        return [fate for fate in self.fates if fate.new is None]

    def __str__(self) -> str:
        """Return a line that counts the layers, and a line for each."""
        lines = [f"{counted(len(self.replaced), 'layer')} replaced, {len(self.left)} left"]
        width = max((len(fate.name) for fate in self.fates), default=0)
        for name, old, new, reason in self.fates:
            lines.append(f"{name:{width}}  {old} -> {new}" if new else f"{name:{width}}  {old} left: {reason}")
        return "\n".join(lines)
