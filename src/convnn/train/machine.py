"""What the last bits of a run depend on besides its flags: threads, instruction sets, the release of torch."""

import reprlib
from pathlib import Path
from typing import Any

import torch

from convnn.backends.cpu import INSTRUCTION_SET
from convnn.errors import InputError
from convnn.runs.files import ARGUMENTS, parse_arguments
from convnn.train.config import MOST_THREADS

NAMES = {
    "core": "the instruction set of the compiled core",
    "vectors": "the instruction set of torch",
    "torch": "the release of torch",
    "threads": "the number of threads",
}


def this_machine() -> dict[str, Any]:
    """What a checkpoint says of where it was computed, as JSON can hold it."""
    return {
        "core": INSTRUCTION_SET,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }


def check_machine(machine: Any) -> None:
    """Refuse what no run has written.

    Raises:
        InputError: naming it.
    """
    is_right = isinstance(machine, dict) and machine.keys() == NAMES.keys()
    is_right = is_right and all(type(machine[name]) is (int if name == "threads" else str) for name in NAMES)
    if not (is_right and 1 <= machine["threads"] <= MOST_THREADS):
        raise InputError(f"machine={reprlib.repr(machine)}")


def describe_change(before: dict[str, Any]) -> str | None:
    """One sentence on what differs here from where a run was before; None where nothing does."""
    here = this_machine()
    changes = [f"{NAMES[name]} was {one} and is {here[name]}" for name, one in before.items() if one != here[name]]
    return f"the last bits may differ from those of an undisturbed run: {', '.join(changes)}" if changes else None


def threads_begun_with(folder: Path) -> int | None:
    """Those of a run that was broken off before its first checkpoint, from its args.txt; None where none is said."""
    try:
        said = parse_arguments((folder / ARGUMENTS).read_text(encoding="utf-8"), ARGUMENTS).get("threads", "")
    except (OSError, ValueError):  # not there, or not of a run
        return None
    threads = int(said) if said.isdecimal() else 0
    return threads if 1 <= threads <= MOST_THREADS else None
