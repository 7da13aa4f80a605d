"""What a command says when a package that it needs does not load."""

import platform
import sys
import traceback

from convnn import __version__
from convnn.packages import faults, versions


def say_what_does_not_load(error: Exception, command: str) -> int | None:
    """Answer for a command that cannot begin: `info` lists what is there, all others say why they cannot.

    Returns:
        The exit status; None where all packages load, and the error is ours to mend.
    """
    if not _is_of_an_import(error) or not (found := faults(error)):
        return None
    if command == "info":
        rows = {"convnn": __version__, "python": platform.python_version()} | versions()
        for name, text in rows.items():
            print(f"{name:<14}{text}" + (f", does not load: {found[name]}" if name in found else ""))
        return 0
    name, why = next(iter(found.items()))
    print(f"convnn: {name} {versions()[name]} does not load: {why}; convnn info lists all packages", file=sys.stderr)
    return 2


def _is_of_an_import(error: Exception) -> bool:
    """Whether it was raised while a module was loading."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ImportError) or any(frame.name == "<module>" for frame in frames)
