"""What a campaign of faults has to say."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """A count, and what went wrong.

    Attributes:
        name: of the campaign.
        tried: faults that were made.
        failures: one line for each that was not survived.
        notes: what else was measured.
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
