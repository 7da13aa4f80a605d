"""Sources of the data sets: files in the data path, or the digits bundled with scikit-learn."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convnn.data.folders import has_class_folders, read_class_folders, read_pictures
from convnn.data.shapes import SHAPE_CLASSES, SHAPES_SIDE
from convnn.data.stream import ImageFile
from convnn.errors import InputError, is_out_of_memory

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

KNOWN_SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "imagenet": ((3, 224, 224), 1000),
    "digits": ((1, 8, 8), 10),
    "shapes": ((3, SHAPES_SIDE, SHAPES_SIDE), len(SHAPE_CLASSES)),
}
"""Shape of the images and number of classes, of the data sets of images for which they are known without reading."""

DIGITS_TEST_SIZE = 360
"""20 % of the 1797 digits."""


class Tensors(NamedTuple):
    """One part of a data set: (N, C, H, W) uint8 images and (N,) int64 labels."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class TensorSource:
    """A data set in memory."""

    train: Tensors
    test: Tensors
    classes: tuple[str, ...]


@dataclass(frozen=True)
class FileSource:
    """A data set as image files.

    Attributes:
        parts: files of train, test and, if it is a separate part, val.
        classes: name of each label.
        left_out: files whose extension is not that of a picture, and a test/ without classes.
        folders: name of each part's folder.
    """

    parts: dict[str, list[ImageFile]]
    classes: tuple[str, ...]
    left_out: tuple[str, ...]
    folders: dict[str, str]


@cache  # to unpack and divide them takes 40 ms
def read_digits() -> TensorSource:
    """Read the 1797 gray 8x8 digits; the test part is always the same stratified 20 %."""
    from sklearn.datasets import load_digits  # takes most of a second to import
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    parts = train_test_split(images, labels, test_size=DIGITS_TEST_SIZE, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return TensorSource(
        Tensors(train_images, train_labels.long()),
        Tensors(test_images, test_labels.long()),
        tuple(str(digit) for digit in range(10)),
    )


def read_cifar(kind: "type[CIFAR10]", data_path: Path, download: bool) -> TensorSource:
    """Read CIFAR-10 or CIFAR-100 in its official layout; torchvision checks the MD5 sums before it unpickles the files.

    Raises:
        InputError: there is no intact copy, or it cannot be downloaded.
    """
    if not download:
        _check_folder(data_path, "name the folder that holds the data, or pass download=True")
    try:
        train, test = (kind(data_path, train=train, download=download) for train in (True, False))
    # Failures of the network, the archive or the disk are for the user to fix.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(_cifar_advice(kind, data_path, download, error)) from error
    return TensorSource(_cifar_tensors(train), _cifar_tensors(test), tuple(train.classes))


def read_image_folder(data_path: Path, only: str | None = None, *, with_classes: bool = True) -> FileSource:
    """List the image files of train/<class>/*, val/<class>/* and test/<class>/*.

    Either val/ or test/ may be missing; the other is then the test part. A test/ without classes beside val/, as some
    sets have it, is ignored.

    Args:
        data_path: folder that holds these folders.
        only: the one part to read; None reads all.
        with_classes: whether the folders in these are classes; if not, they may be none, and all labels are 0.

    Raises:
        InputError: a folder is missing or empty, or the parts have different classes.
    """
    _check_folder(data_path, "name the folder that holds train/ and val/")
    one = {} if only is None else {only: _part_folder(data_path, only, with_classes)}
    folders, read = one or _part_folders(data_path, with_classes), read_class_folders if with_classes else read_pictures
    parts = {part: read(data_path, folder) for part, folder in folders.items()}
    first, *others = parts
    for other in others:
        different = sorted(set(parts[first].classes) ^ set(parts[other].classes))
        if different:
            raise InputError(
                f"data_path={str(data_path)!r}: the classes of {folders[first]}/ and {folders[other]}/ must be the"
                f" same, but only one of them has {', '.join(different)}"
            )
    left_out = [file for pictures in parts.values() for file in pictures.left_out]
    if folders.get("test") == "val" and (data_path / "test").is_dir():
        left_out.append(f"{data_path / 'test'}{os.sep}")
    files = {part: pictures.files for part, pictures in parts.items()}
    return FileSource(files, parts[first].classes, tuple(left_out), folders)


def _cifar_tensors(part: Any) -> Tensors:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Tensors(images, torch.tensor(part.targets))


def _cifar_advice(kind: "type[CIFAR10]", data_path: Path, download: bool, error: Exception) -> str:
    path, name = f"data_path={str(data_path)!r}", kind.__name__
    if download:
        return f"download=True cannot fetch {name} into {path} ({error!r}); unpack {kind.url} there by hand"
    return (
        f"{path} holds no intact copy of {name} in {kind.base_folder}/; pass download=True, or unpack {kind.url} there"
    )


def _part_folders(data_path: Path, with_classes: bool) -> dict[str, str]:
    """Return the folder of each part, train first; val is a separate part where it is not the test part."""
    train, test = (_part_folder(data_path, part, with_classes) for part in ("train", "test"))
    has_val = test != "val" and (data_path / "val").is_dir()
    return {"train": train} | ({"val": "val"} if has_val else {}) | {"test": test}


def _part_folder(data_path: Path, part: str, with_classes: bool) -> str:
    """Return the name of a part's folder; the test part may be in val/."""
    is_there = has_class_folders(data_path / "test") if with_classes else (data_path / "test").is_dir()
    if part == "test" and (data_path / "val").is_dir() and not is_there:
        return "val"
    if not (data_path / part).is_dir():
        listed = "val/ or test/" if part == "test" else f"{part}/"
        raise InputError(
            f"data_path={str(data_path)!r} has no folder {listed}; images belong in train/ and in val/ or"
            " test/, or in all three"
        )
    return part


def _check_folder(data_path: Path, advice: str) -> None:
    if not data_path.is_dir():
        raise InputError(f"data_path={str(data_path)!r} is not an existing folder; {advice}")
