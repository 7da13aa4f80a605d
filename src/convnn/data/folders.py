"""The pictures of a folder that has one folder a class, among whatever else people and systems leave there."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile

from convnn.data.stream import ImageFile as Sample
from convnn.errors import InputError

LITTER = ("__macosx", "@eadir", "thumbs.db", "desktop.ini")
"""Names, in lower case, of what systems leave beside pictures, as they do names that begin with a dot."""

NOT_DECODED = ("MPEG", "EPS")
"""Formats that Pillow recognises and does not decode, or not without other programs."""


class Pictures(NamedTuple):
    """What a folder holds.

    Attributes:
        classes: the names of its folders, sorted.
        files: the pictures, class by class, sorted within.
        left_out: files that are no pictures by their endings.
    """

    classes: tuple[str, ...]
    files: list[Sample]
    left_out: list[str]


def read_class_folders(data_path: Path, part: str) -> Pictures:
    """List the pictures of `data_path`/`part`/<class>/**, those in folders that links lead to as well.

    A picture is what has one of the endings of `picture_endings`. Hidden files and folders, and what systems leave
    there, are passed over. A link to a folder above it is not followed: what it leads to is there already.

    Raises:
        InputError: there are no classes, some have no pictures, or a folder cannot be read.
    """
    try:
        classes = _files_by_class(data_path / part)
    except OSError as error:
        raise InputError(
            f"--data_path={str(data_path)!r}: '{error.filename}' cannot be read: {error.strerror or error}"
        ) from None
    if not classes:
        raise InputError(
            f"--data_path={str(data_path)!r}: {part}/ has no class folders; pictures belong in {part}/<class>/"
        )
    pictures = {name: [path for path in paths if is_picture(path)] for name, paths in classes.items()}
    if empty := [name for name, paths in pictures.items() if not paths]:
        raise InputError(f"--data_path={str(data_path)!r}: {part}/ has no picture of the classes {', '.join(empty)}")
    files = [Sample(path, label) for label, paths in enumerate(pictures.values()) for path in paths]
    return Pictures(
        tuple(classes), files, [path for paths in classes.values() for path in paths if not is_picture(path)]
    )


def pictures_below(folder: str, refuse: Callable[[OSError], None]) -> list[str]:
    """The pictures in a folder and below, by the same rules, sorted folder by folder.

    Args:
        folder: with or without classes.
        refuse: is told of a folder that cannot be read; the others go on.
    """
    return [path for _, path in sorted(_walk(folder, (), refuse)) if is_picture(path)]


def has_class_folders(folder: Path) -> bool:
    """Whether there is a folder that could be a class."""
    return folder.is_dir() and any(path.is_dir() and not is_litter(path.name) for path in folder.iterdir())


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or was left by a system."""
    return name.startswith(".") or name.lower() in LITTER


def is_picture(path: str) -> bool:
    """Whether a file is one by its ending."""
    return Path(path).suffix.lower() in picture_endings()


@cache
def picture_endings() -> frozenset[str]:
    """In lower case, those of all formats that the installed Pillow decodes."""
    Image.init()
    formats = {name for name, (factory, _) in Image.OPEN.items() if not _is_stub(factory)} | {"MPO"}  # read as JPEG
    return frozenset(
        ending.lower()
        for ending, name in Image.registered_extensions().items()
        if name in formats and name not in NOT_DECODED
    )


def _is_stub(factory: object) -> bool:
    """Whether Pillow leaves the decoding to others."""
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


def _files_by_class(folder: Path) -> dict[str, list[str]]:
    """The files of each class, sorted folder by folder."""
    above = (os.path.realpath(folder),)
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return {
        entry.name: [path for _, path in sorted(_walk(entry.path, above))]
        for entry in entries
        if _leads_down(entry, above)
    }


def _walk(
    folder: str, above: tuple[str, ...], refuse: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, str]]:
    """Every file below, with its folder; `above` are the real paths of the folders that led here.

    A folder that cannot be read ends it, or is told to `refuse` and passed over.
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
        if _leads_down(entry, chain):
            yield from _walk(entry.path, chain, refuse)
        elif not is_litter(entry.name) and not (entry.is_symlink() and Path(entry.path).is_dir()):
            yield folder, entry.path


def _leads_down(entry: "os.DirEntry[str]", chain: tuple[str, ...]) -> bool:
    """Whether an entry is a folder to look into: no litter, and no link to one that led here or holds one of these."""
    if is_litter(entry.name) or not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False) and not is_litter(entry.name)
    target = os.path.realpath(entry.path)
    return Path(target).is_dir() and not any(Path(one).is_relative_to(target) for one in chain)
