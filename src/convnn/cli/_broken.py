"""Messages about installed packages that cannot be imported."""

import platform
import sys
import traceback

from convnn import __version__
from convnn.packages import faults, versions


def report_broken_package(error: Exception, command: str) -> int | None:
    """Report a package that cannot be imported; `info` lists all packages instead.

    Returns:
        The exit status; None if all packages can be imported, so that the error is a bug of this library.
    """
    if not _is_import_error(error) or not (found := faults(error)):
        return None
    if command == "info":
        rows = {"convnn": __version__, "python": platform.python_version()} | versions()
        for name, text in rows.items():
            print(f"{name:<14}{text}" + (f", does not load: {found[name]}" if name in found else ""))
        return 0
    name, why = next(iter(found.items()))
    print(f"convnn: {name} {versions()[name]} does not load: {why}; convnn info lists all packages", file=sys.stderr)
    return 2


def _is_import_error(error: Exception) -> bool:
    """Return whether an error was raised while a module was being imported."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ImportError) or any(frame.name == "<module>" for frame in frames)
