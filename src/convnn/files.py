"""Files that are whole or not there."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from convnn.errors import InputError, OutputError

UNFINISHED = ".part"
"""Ends the names of files that are still written; a process that is killed leaves one behind."""


def write_atomically(path: Path, *parts: bytes | memoryview | str, old_to: Path | None = None) -> None:
    r"""Replace a file in one step: written beside it, flushed to the disk, renamed.

    Text is UTF-8 always; what UTF-8 has no place for, such as a byte of a path that is no text, is written `\udce9`.

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
                file.write(part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part)
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


def check_new(out: Path, names: Iterable[str] = (), *, overwrite: bool) -> None:
    """Refuse to replace what nobody said may be replaced.

    Args:
        out: the value of `--out`: the file that is about to be written, or the folder of some.
        names: of the files in the folder.
        overwrite: whether `--overwrite` is given.

    Raises:
        InputError: a file is there, and `overwrite` is not given.
    """
    paths = [out / name for name in names] or [out]
    there = next((path for path in paths if path.exists()), None)
    if there is not None and not overwrite:
        raise InputError(f"--out={out} would replace '{there}'; choose another, or pass --overwrite")


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
