"""The door to the command line: signals are answered from the first moment, before torch is loaded."""

import sys

from convnn.signals import answer_signals


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


if __name__ == "__main__":
    sys.exit(main())
