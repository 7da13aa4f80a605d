"""What became of the layers of a network."""

from dataclasses import dataclass
from typing import NamedTuple

from convnn.words import counted


class Fate(NamedTuple):
    """What became of one layer.

    Attributes:
        name: its path in the model.
        old: what it was.
        new: what it is now; None where it was left.
        reason: why it was left; empty where it was not.
    """

    name: str
    old: str
    new: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class ReplacementReport:
    """What became of every layer that might have been replaced; as text, a line each.

    Attributes:
        fates: in the order of the model.
    """

    fates: tuple[Fate, ...]

    @property
    def replaced(self) -> list[Fate]:
        """Those that are something else now."""
        return [fate for fate in self.fates if fate.new is not None]

    @property
    def left(self) -> list[Fate]:
        """Those that are what they were."""
        return [fate for fate in self.fates if fate.new is None]

    def __str__(self) -> str:
        """A line for each layer below a line that counts them."""
        lines = [f"{counted(len(self.replaced), 'layer')} replaced, {len(self.left)} left"]
        width = max((len(fate.name) for fate in self.fates), default=0)
        for name, old, new, reason in self.fates:
            lines.append(f"{name:{width}}  {old} -> {new}" if new else f"{name:{width}}  {old} left: {reason}")
        return "\n".join(lines)
