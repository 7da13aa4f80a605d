"""`python -m faults`: every campaign in full, as a table."""

import tempfile
from pathlib import Path

from faults import damaged, killed_while_saving, killed_while_training, memory, signalled, unwritable


def main() -> int:
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def place(part: str) -> Path:
            (folder / part).mkdir()
            return folder / part

        campaigns = (
            lambda: killed_while_saving.run(200, place("saving") / "run"),
            lambda: killed_while_training.run(50, place("training0"), workers=0),
            lambda: killed_while_training.run(50, place("training2"), workers=2),
            lambda: signalled.run(40, place("signals")),
            lambda: damaged.run(400, place("damage")),
            lambda: unwritable.run(place("unwritable")),
            lambda: memory.run(2000, place("memory"), *memory.KINDS),
        )
        for campaign in campaigns:
            outcome = campaign()
            failures += len(outcome.failures)
            print(outcome, flush=True)
    return min(failures, 1)


if __name__ == "__main__":
    raise SystemExit(main())
