"""The properties of a machine that affect the last bits of a run: threads, instruction sets, the release of torch."""

import reprlib
from pathlib import Path
from typing import Any

import torch

from convnn.backends.cpu import INSTRUCTION_SET
from convnn.errors import InputError
from convnn.runs.files import ARGUMENTS, parse_arguments
from convnn.train.flags._flag import MOST_THREADS

NAMES = {
    "core": "the instruction set of the compiled core",
    "vectors": "the instruction set of torch",
    "torch": "the release of torch",
    "threads": "the number of threads",
}


def describe_machine() -> dict[str, Any]:
    """Return the properties of this machine that a checkpoint records, as JSON values."""
    return {
        "core": INSTRUCTION_SET,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }


def check_machine(machine: Any) -> None:
    """Check the properties that a checkpoint records.

    Raises:
        InputError: no run could have written them; the message shows them.
    """
    is_valid = isinstance(machine, dict) and machine.keys() == NAMES.keys()
    is_valid = is_valid and all(type(machine[name]) is (int if name == "threads" else str) for name in NAMES)
    if not (is_valid and 1 <= machine["threads"] <= MOST_THREADS):
        raise InputError(f"machine={reprlib.repr(machine)}")


def describe_change(before: dict[str, Any]) -> str | None:
    """Return a sentence on how this machine differs from the one before, or None if it does not."""
    now = describe_machine()
    changes = [f"{NAMES[name]} was {old} and is now {now[name]}" for name, old in before.items() if old != now[name]]
    return f"the last bits may differ from those of an uninterrupted run: {', '.join(changes)}" if changes else None


def saved_threads(folder: Path) -> int | None:
    """Return the threads in args.txt of a run that stopped before its first checkpoint, or None without a number."""
    try:
        text = parse_arguments((folder / ARGUMENTS).read_text(encoding="utf-8"), ARGUMENTS).get("threads", "")
    except (OSError, ValueError):  # no such file, or not a run's
        return None
    threads = int(text) if text.isdecimal() else 0
    return threads if 1 <= threads <= MOST_THREADS else None
