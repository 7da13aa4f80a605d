"""Folders of images with masks of the same names: which file belongs to which, and what the masks' values mean."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convnn.data.folders import is_picture, is_system_file, pictures_below, unreadable
from convnn.data.images import decode
from convnn.errors import InputError
from convnn.words import counted

IGNORED = 255
"""The value of pixels that are not counted."""

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Formats that keep every value; JPEG changes them."""

CLASSES = "classes.txt"
BINARY_CLASSES = ("background", "foreground")
READERS = 8
"""Threads that look through masks."""


class MaskedFile(NamedTuple):
    """The paths of an image and of its mask."""

    path: str
    mask: str


@dataclass(frozen=True)
class Values:
    """What the values of masks mean.

    Attributes:
        classes: names of the classes 0, 1 and so on.
        is_binary: whether the masks hold 0 and 255 only, and 255 is the second class.
    """

    classes: tuple[str, ...]
    is_binary: bool

    def labels(self, values: NDArray[np.uint8], path: str) -> NDArray[np.uint8]:
        """Return the classes (H, W) of the values of a mask; pixels that are not counted are 255.

        Raises:
            InputError: a value is no class; the message names the file, the value and a place.
        """
        if self.is_binary:
            wrong = (values != 0) & (values != IGNORED)
            labels = (values == IGNORED).astype(np.uint8)
        else:
            wrong, labels = (values >= len(self.classes)) & (values != IGNORED), values
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            known = f"0 to {len(self.classes) - 1}, and 255 for what is not counted"
            allowed = "0 and 255" if self.is_binary else known
            raise InputError(
                f"the mask {path} has the value {values[row, column]} in row {row}, column {column}; with the"
                f" {len(self.classes)} classes of this set values are {allowed}"
            )
        return labels


@dataclass(frozen=True)
class MaskSource:
    """A data set as files of images and masks.

    Attributes:
        parts: files of train, test and, if it is a separate part, val.
        values: what the values of the masks mean.
        left_out: files beside the images that are no pictures.
        folders: name of each part's folder.
    """

    parts: dict[str, list[MaskedFile]]
    values: Values
    left_out: tuple[str, ...]
    folders: dict[str, str]


def read_mask_folder(data_path: Path, only: str | None = None) -> MaskSource:
    """List the images and masks of train/images/* and train/masks/*, and of val/ and test/ in the same way.

    Either val/ or test/ may be missing; the other is then the test part. A test/ without masks beside val/ is ignored.

    Args:
        data_path: folder that holds these folders, and perhaps classes.txt with the name of a class in every line.
        only: the one part to read; None reads all.

    Raises:
        InputError: a folder or a mask is missing, classes.txt is wrong, or a mask has values that are no classes.
    """
    if not data_path.is_dir():
        raise InputError(f"data_path={str(data_path)!r} is not an existing folder; name the folder that holds train/")
    folders = _part_folders(data_path) if only is None else {only: _part_folder(data_path, only)}
    parts = {part: _pairs(data_path, folder) for part, folder in folders.items()}
    # What the values mean is the same in every part: the training masks say it where they are there.
    first = next(iter(folders))
    known = parts[first] if first == "train" or not _has_masks(data_path / "train") else _pairs(data_path, "train")
    left_out = [path for folder in folders.values() for path in _others(data_path / folder / "images")]
    return MaskSource(parts, _read_values(data_path, known), tuple(left_out), folders)


def read_mask(path: str) -> NDArray[np.uint8]:
    """Read the values (H, W) of a mask: the indices of its palette, or its grey values.

    Raises:
        BrokenImageError: the file is missing, broken, or not a picture.
        InputError: it is in colours, or a value is no whole number from 0 to 255.
    """
    picture = decode(path)
    if picture.mode == "1":
        return np.asarray(picture, dtype=np.uint8)
    values = np.asarray(picture)
    if values.ndim == 3:
        colours = values[..., : 1 if picture.mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise InputError(
                f"the mask {path} is in colours; save it with a palette, or in grey, so that its values are the classes"
            )
        values = values[..., 0]
    if values.dtype != np.uint8 and ((values < 0) | (values > IGNORED)).any():
        raise InputError(f"the mask {path} has values from {values.min()} to {values.max()}; classes are 0 to 254")
    if (between := values[values != np.floor(values)]).size:  # or NaN
        raise InputError(f"the mask {path} has the value {between[0]:g}; classes are whole numbers from 0 to 254")
    return values.astype(np.uint8)


def _has_masks(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _part_folders(data_path: Path) -> dict[str, str]:
    train, test = _part_folder(data_path, "train"), _part_folder(data_path, "test")
    has_val = test != "val" and _has_masks(data_path / "val")
    return {"train": train} | ({"val": "val"} if has_val else {}) | {"test": test}


def _part_folder(data_path: Path, part: str) -> str:
    """Return the name of a part's folder; the test part may be in val/."""
    if part == "test" and not _has_masks(data_path / "test") and _has_masks(data_path / "val"):
        return "val"
    for name in ("images", "masks"):
        if not (data_path / part / name).is_dir():
            listed = f"{part}/{name}/" if part != "test" else f"val/{name}/ or test/{name}/"
            raise InputError(
                f"data_path={str(data_path)!r} has no folder {listed}; images belong in {part}/images/ and masks of the"
                f" same names in {part}/masks/"
            )
    return part


def _refuse(data_path: Path, error: OSError) -> None:
    raise unreadable(data_path, error)


def _pairs(data_path: Path, part: str) -> list[MaskedFile]:
    """Return the images of a part with their masks.

    Raises:
        InputError: there are no images, or one has no mask, or several.
    """
    images, masks = data_path / part / "images", data_path / part / "masks"
    refuse = partial(_refuse, data_path)
    found = pictures_below(str(images), refuse)
    if not found:
        raise InputError(f"data_path={str(data_path)!r}: {part}/images/ has no pictures")
    by_name: dict[Path, str] = {}
    for path in pictures_below(str(masks), refuse):
        name = Path(path).relative_to(masks).with_suffix("")
        if Path(path).suffix.lower() in MASK_SUFFIXES and by_name.setdefault(name, path) != path:
            raise InputError(f"the masks {by_name[name]} and {path} have the same name; keep one of them")
    pairs = []
    for path in found:
        name = Path(path).relative_to(images).with_suffix("")
        if name not in by_name:
            raise InputError(f"the image {path} has no mask {masks / name}.png (or {', '.join(MASK_SUFFIXES[1:])})")
        pairs.append(MaskedFile(path, by_name[name]))
    return pairs


def _others(images: Path) -> Iterator[str]:
    """Yield the files beside images that are no pictures by their names."""
    for entry in sorted(os.scandir(images), key=lambda entry: entry.name):
        if entry.is_file() and not is_system_file(entry.name) and not is_picture(entry.path):
            yield entry.path


def _read_values(data_path: Path, files: list[MaskedFile]) -> Values:
    """Find out what the values of masks mean, from classes.txt, or else from all of them.

    With more than two names nothing is read. With two, or without names, 255 is the second class if the masks hold no
    value but 0 and 255.

    Raises:
        InputError: classes.txt is wrong, a mask cannot be read, or there are fewer than two classes.
    """
    names = read_names(data_path / CLASSES)
    if names is not None and len(names) > 2:
        return Values(names, is_binary=False)
    found: set[int] = set()
    with ThreadPoolExecutor(READERS) as threads:
        for values in threads.map(_values_of, [file.mask for file in files]):
            found |= values
    is_binary = found == {0, IGNORED}
    classes = BINARY_CLASSES if is_binary else tuple(map(str, range(max(found - {IGNORED}, default=0) + 1)))
    if len(classes) < 2:
        raise InputError(
            f"data_path={str(data_path)!r} has {counted(len(files), 'mask')} of the class 0 only, so there is nothing"
            " to learn; the values of masks are the numbers of classes"
        )
    return Values(classes if names is None else names, is_binary)


def _values_of(path: str) -> set[int]:
    return set(np.flatnonzero(np.bincount(read_mask(path).ravel(), minlength=IGNORED + 1)).tolist())


def read_names(path: Path) -> tuple[str, ...] | None:
    """Return the names of the classes in a file, or None if there is none.

    Raises:
        InputError: it cannot be read, or has fewer than two names, more than 255, or one twice.
    """
    if not path.exists():
        return None
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").strip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not 2 <= len(names) <= IGNORED or "" in names or len(set(names)) < len(names):
        raise InputError(
            f"'{path}' has {counted(len(names), 'line')} and {counted(len({*names} - {''}), 'name')}; it must have the"
            f" name of a class in every line, each once, 2 to {IGNORED}"
        )
    return names
