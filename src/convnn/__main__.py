"""The door to the command line: signals are answered from the first moment, before torch is loaded."""

import os
import platform
import signal
import sys
from collections.abc import Sequence
from types import FrameType


def main() -> int:
    """`convnn` and `python -m convnn`."""
    answer_signals()
    try:
        from convnn.cli import main as run
    except Exception as error:
        return _say_what_does_not_load(error, sys.argv[1:])
    return run()


def main_train() -> int:
    """`python main.py`."""
    answer_signals()
    try:
        from convnn.cli import main_train as run
    except Exception as error:
        return _say_what_does_not_load(error, ["train"])
    return run()


def answer_signals() -> None:
    """End at once on SIGINT and SIGTERM, with 130 and 143: there is nothing to save yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _say_what_does_not_load(error: Exception, argv: Sequence[str]) -> int:
    """Answer a command that cannot even be parsed: `info` says what is there, all others why they cannot begin."""
    from convnn import __version__
    from convnn.packages import faults, versions

    found = faults(error)
    if not found:
        raise error  # ours to mend
    if argv[:1] == ["info"]:
        rows = {"convnn": __version__, "python": platform.python_version()} | versions()
        for name, text in rows.items():
            print(f"{name:<14}{text}" + (f", does not load: {found[name]}" if name in found else ""))
        return 0
    name, why = next(iter(found.items()))
    print(f"convnn: {name} {versions()[name]} does not load: {why}; convnn info lists all packages", file=sys.stderr)
    return 2


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
