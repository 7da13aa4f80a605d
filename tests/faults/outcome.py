"""The outcome of a fault campaign."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """The number of faults, and those that were not survived.

    Attributes:
        name: name of the campaign.
        tried: number of injected faults.
        failures: a line for each fault that was not survived.
        notes: further measurements.
    """

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    notes: str = ""

    def check(self, holds: bool, failure: str) -> None:
        if not holds:
            self.failures.append(failure)

    def __str__(self) -> str:
        held = self.tried - len(self.failures)
        return f"| {self.name} | {held} of {self.tried} | {self.notes} |" + "".join(f"\n  {f}" for f in self.failures)
