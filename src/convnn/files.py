"""Files that are whole or not there."""

import os
import tempfile
from pathlib import Path

from convnn.errors import OutputError

UNFINISHED = ".part"
"""Ends the names of files that are still written; a process that is killed leaves one behind."""


def write_atomically(path: Path, *parts: bytes | memoryview | str, old_to: Path | None = None) -> None:
    """Replace a file in one step: written beside it, flushed to the disk, renamed.

    Args:
        path: the file.
        parts: what it will hold, one after the other.
        old_to: where the file that is there now goes, replacing what is there; it is discarded when None.

    Raises:
        OutputError: it cannot be written; the old file stays and nothing is left beside it.
    """
    unfinished = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED, delete=False
        ) as file:
            unfinished = Path(file.name)
            for part in parts:
                file.write(part.encode() if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o644)
        if old_to is not None and path.exists():
            path.replace(old_to)
        unfinished.replace(path)
        _flush_folder(path.parent)
    except BaseException as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write '{path}': {error.strerror or error}") from None
        raise


def make_folder(path: Path, name: str) -> Path:
    """The folder of an argument, made where it is missing.

    Raises:
        OutputError: it cannot be made, naming the argument.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{name}={path} cannot be made: {error.strerror or error}") from None
    return path


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
