"""The entry point of the command line, which handles signals before torch is imported."""

import sys

from convnn.signals import answer_signals


def main() -> int:
    """Run `convnn`, or `python -m convnn`."""
    answer_signals()
    from convnn.cli import main as run

    return run()


def main_train() -> int:
    """Run `python main.py`."""
    answer_signals()
    from convnn.cli import main_train as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
