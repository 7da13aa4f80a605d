"""Files that are whole or not there."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convnn.errors import InputError, OutputError

UNFINISHED = ".part"
"""Ends the names of files that are still written; a process that is killed leaves one behind."""

NOT_OFFERED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES}
"""What a file system answers that flushes no folders, or keeps no permissions: network drives, FUSE, memory cards."""


def write_atomically(path: Path, *parts: bytes | memoryview | str, old_to: Path | None = None) -> None:
    r"""Replace a file in one step: written beside it, flushed to the disk, renamed.

    Text is UTF-8 always; what UTF-8 has no place for, such as a byte of a path that is no text, is written `\udce9`.

    A new file has the permissions that the umask leaves, another keeps its own.

    Args:
        path: the file.
        parts: what it will hold, one after the other.
        old_to: where the file that is there now goes, replacing what is there; it is discarded when None.

    Raises:
        OutputError: it cannot be written; the old file stays and nothing is left beside it.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:  # the system gives it the permissions of any new file
            for part in parts:
                file.write(part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            with _if_offered():
                unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
            if old_to is not None:
                path.replace(old_to)
        unfinished.replace(path)
        _flush_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # what stands in its way is what is told
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


def expand_home(path: str, name: str) -> str:
    """A path of an argument as the system takes it: `~` at its beginning is the user's home, `~ann` that of Ann.

    Raises:
        InputError: it is empty or holds a NUL, or there is no such home, naming the argument.
    """
    if not path:
        raise InputError(f"{name}='' is no path; name a file or folder, such as . for this one")
    if "\0" in path:
        raise InputError(f"{name}={path!r} is no path: no file is called by the letter NUL")
    if not path.startswith("~"):
        return path  # as it was written
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        home = Path(path).parts[0]
        raise InputError(f"{name}={path} begins with the home {home} of nobody here; write ./{path}") from None


def is_same_folder(one: Path, other: Path) -> bool:
    """Whether two paths, however they are spelled, lead to one folder that is there."""
    return one.is_dir() and other.is_dir() and one.samefile(other)


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with _if_offered():
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _if_offered() -> Iterator[None]:
    """Do without what the file system does not offer: the file is written all the same."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
