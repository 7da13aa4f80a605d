"""The door to the command line: signals are answered from the first moment, before torch is loaded."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """`convnn` and `python -m convnn`."""
    answer_signals()
    from convnn.cli import main as run

    return run()


def main_train() -> int:
    """`python main.py`."""
    answer_signals()
    from convnn.cli import main_train as run

    return run()


def answer_signals() -> None:
    """End at once on SIGINT and SIGTERM, with 130 and 143: there is nothing to save yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
