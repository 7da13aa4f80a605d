"""The pictures of a folder with one folder per class, among whatever else people and systems leave there."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile

from convnn.data.stream import ImageFile as Sample
from convnn.errors import InputError

SYSTEM_FILES = ("__macosx", "@eadir", "thumbs.db", "desktop.ini")
"""Lower-case names of files that systems leave beside pictures, apart from those that begin with a dot."""

UNDECODED_FORMATS = ("MPEG", "EPS")
"""Formats that Pillow recognises but does not decode, or not without other programs."""


class Pictures(NamedTuple):
    """The contents of a folder of class folders.

    Attributes:
        classes: the names of its folders, sorted.
        files: the pictures, class by class, sorted within each class.
        left_out: files whose extension is not that of a picture.
    """

    classes: tuple[str, ...]
    files: list[Sample]
    left_out: list[str]


def read_class_folders(data_path: Path, part: str) -> Pictures:
    """List the pictures of `data_path`/`part`/<class>/**, following links to folders.

    A picture is a file with one of the extensions of `picture_extensions`. Hidden files and folders and those that
    systems create are skipped. A link to one of the folders above it is not followed: its contents are listed already.

    Raises:
        InputError: there are no classes, some have no pictures, or a folder cannot be read.
    """
    try:
        classes = _files_by_class(data_path / part)
    except OSError as error:
        raise unreadable(data_path, error) from None
    if not classes:
        raise InputError(
            f"data_path={str(data_path)!r}: {part}/ has no class folders; pictures belong in {part}/<class>/"
        )
    pictures = {name: [path for path in paths if is_picture(path)] for name, paths in classes.items()}
    if empty := [name for name, paths in pictures.items() if not paths]:
        raise InputError(f"data_path={str(data_path)!r}: {part}/ has no picture of the classes {', '.join(empty)}")
    files = [Sample(path, label) for label, paths in enumerate(pictures.values()) for path in paths]
    return Pictures(
        tuple(classes), files, [path for paths in classes.values() for path in paths if not is_picture(path)]
    )


def read_pictures(data_path: Path, part: str) -> Pictures:
    """List the pictures of `data_path`/`part`/** by the same rules, without classes: all have the label 0.

    Raises:
        InputError: there are none, or a folder cannot be read.
    """
    try:
        paths = [path for _, path in sorted(_walk(str(data_path / part), ()))]
    except OSError as error:
        raise unreadable(data_path, error) from None
    files = [Sample(path, 0) for path in paths if is_picture(path)]
    if not files:
        raise InputError(f"data_path={str(data_path)!r}: {part}/ has no picture")
    return Pictures((), files, [path for path in paths if not is_picture(path)])


def pictures_below(folder: str, refuse: Callable[[OSError], None]) -> list[str]:
    """List the pictures in a folder and below by the same rules, sorted folder by folder.

    Args:
        folder: the folder, with or without class folders.
        refuse: called with the error of each folder that cannot be read; the search goes on with the others.
    """
    return [path for _, path in sorted(_walk(folder, (), refuse)) if is_picture(path)]


def unreadable(data_path: Path, error: OSError) -> InputError:
    """Return the error to raise about a folder in a data set that cannot be read."""
    return InputError(f"data_path={str(data_path)!r}: '{error.filename}' cannot be read: {error.strerror or error}")


def has_class_folders(folder: Path) -> bool:
    """Return whether a folder has a subfolder that could be a class."""
    return folder.is_dir() and any(path.is_dir() and not is_system_file(path.name) for path in folder.iterdir())


def is_system_file(name: str) -> bool:
    """Return whether a file or folder is hidden or was created by a system."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def is_picture(path: str) -> bool:
    """Return whether a file has the extension of a picture."""
    return Path(path).suffix.lower() in picture_extensions()


@cache
def picture_extensions() -> frozenset[str]:
    """Return the lower-case extensions of all formats that the installed Pillow decodes."""
    Image.init()
    formats = {name for name, (factory, _) in Image.OPEN.items() if not _is_stub(factory)} | {"MPO"}  # read as JPEG
    return frozenset(
        extension.lower()
        for extension, name in Image.registered_extensions().items()
        if name in formats and name not in UNDECODED_FORMATS
    )


def _is_stub(factory: object) -> bool:
    """Return whether Pillow leaves the decoding to other programs."""
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


def _files_by_class(folder: Path) -> dict[str, list[str]]:
    """Return the files of each class, sorted folder by folder."""
    above = (os.path.realpath(folder),)
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return {
        entry.name: [path for _, path in sorted(_walk(entry.path, above))]
        for entry in entries
        if _is_subfolder(entry, above)
    }


def _walk(
    folder: str, above: tuple[str, ...], refuse: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield every file below a folder with its own folder; `above` holds the real paths of the folders above.

    A folder that cannot be read raises, or is passed to `refuse` and skipped.
    """
    chain = (*above, os.path.realpath(folder))
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        if refuse is None:
            raise
        refuse(error)
        return
    for entry in entries:
        if _is_subfolder(entry, chain):
            yield from _walk(entry.path, chain, refuse)
        elif not is_system_file(entry.name) and not (entry.is_symlink() and Path(entry.path).is_dir()):
            yield folder, entry.path


def _is_subfolder(entry: "os.DirEntry[str]", chain: tuple[str, ...]) -> bool:
    """Return whether an entry is a folder to search: not a system's, and not a link to a folder above it."""
    if is_system_file(entry.name) or not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False) and not is_system_file(entry.name)
    target = os.path.realpath(entry.path)
    return Path(target).is_dir() and not any(Path(folder).is_relative_to(target) for folder in chain)
