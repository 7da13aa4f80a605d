"""Files that are complete or absent, their bad lines, and paths of arguments."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from convnn.errors import InputError, OutputError
from convnn.words import counted

UNFINISHED = ".part"
"""Suffix of files that are being written; a killed process leaves one behind."""

UNSUPPORTED_ERRNOS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES}
"""Errors of file systems that cannot flush folders or store permissions: network drives, FUSE, memory cards."""


def write_atomically(path: Path, *parts: bytes | memoryview | str, old_to: Path | None = None) -> None:
    r"""Replace a file atomically: write a file beside it, flush it to disk and rename it.

    Text is always written as UTF-8; what UTF-8 cannot encode, such as an undecodable byte of a path, as `\udce9`.

    A new file gets its permissions from the umask, and a replaced one keeps its own.

    Args:
        path: the file.
        parts: its contents, one after the other.
        old_to: new name of the old file, which replaces any file there; None discards the old file.

    Raises:
        OutputError: the file cannot be written; the old file stays, and nothing is left beside it.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:  # opened normally, so that the umask applies
            for part in parts:
                file.write(part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            with _if_supported():
                unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
            if old_to is not None:
                path.replace(old_to)
        unfinished.replace(path)
        _flush_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to report
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write '{path}': {error.strerror or error}") from None
        raise


def make_folder(path: Path, name: str) -> Path:
    """Create the folder of an argument if it is missing, and return it.

    Raises:
        OutputError: the folder cannot be created; the message names the argument.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{name}={path} cannot be created: {error.strerror or error}") from None
    return path


def check_new(out: Path, names: Iterable[str] = (), *, overwrite: bool) -> None:
    """Check that no existing file would be replaced without `overwrite`.

    Args:
        out: the value of `--out`: the file to write, or the folder of several files.
        names: names of the files in the folder.
        overwrite: whether `--overwrite` is given.

    Raises:
        InputError: a file exists, and `overwrite` is not given.
    """
    paths = [out / name for name in names] or [out]
    existing = next((path for path in paths if path.exists()), None)
    if existing is not None and not overwrite:
        raise InputError(f"--out={out} would replace '{existing}'; choose another, or pass --overwrite")


def expand_home(path: str, name: str) -> str:
    """Expand `~` at the start of an argument's path to the user's home, and `~ann` to that of Ann.

    Raises:
        InputError: the path is empty or contains a NUL, or there is no such home; the message names the argument.
    """
    if not path:
        raise InputError(f"{name}='' is not a path; name a file or folder, such as . for this one")
    if "\0" in path:
        raise InputError(f"{name}={path!r} is not a path: the name of a file cannot contain NUL")
    if not path.startswith("~"):
        return path  # unchanged
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        home = Path(path).parts[0]
        raise InputError(f"{name}={path} begins with {home}, but no such user exists; write ./{path}") from None


def is_same_folder(first: Path, second: Path) -> bool:
    """Return whether two paths, however they are spelled, lead to the same existing folder."""
    return first.is_dir() and second.is_dir() and first.samefile(second)


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, if the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with _if_supported():
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _if_supported() -> Iterator[None]:
    """Ignore what the file system does not support; the file is written anyway."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNSUPPORTED_ERRNOS:
            raise


@dataclass(frozen=True)
class BadLine:
    """A line of a text file that is not what it should be.

    Attributes:
        number: of the line, from 1.
        reason: what is wrong with it.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number:,}: {self.reason}"


def refuse_bad_lines(path: Path, bad: Sequence[BadLine]) -> None:
    """Refuse a file with bad lines.

    Raises:
        InputError: there are some; the message has the first three.
    """
    refuse_bad_parts(path, list(map(str, bad)), "bad line")


def refuse_bad_parts(path: Path, bad: Sequence[str], one: str, several: str | None = None) -> None:
    """Refuse a file with bad parts, each of which is told by its place and what is wrong with it.

    Raises:
        InputError: there are some; the message has their number, as `counted` words it, and the first three.
    """
    if bad:
        more = f"; and {len(bad) - 3:,} more" if len(bad) > 3 else ""
        raise InputError(f"'{path}' has {counted(len(bad), one, several)}: {'; '.join(bad[:3])}{more}")
