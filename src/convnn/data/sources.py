"""Where the data sets come from: files in the data path, or scikit-learn's bundled digits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision import datasets

from convnn.data.stream import ImageFile
from convnn.errors import InputError

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
    """A data set as image files."""

    train: list[ImageFile]
    test: list[ImageFile]
    classes: tuple[str, ...]


def read_digits() -> TensorSource:
    """Read the 1797 gray 8x8 digits, with the same stratified 20 % as the test part every time."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    parts = train_test_split(images, labels, test_size=DIGITS_TEST_SIZE, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return TensorSource(
        Tensors(train_images, train_labels.long()),
        Tensors(test_images, test_labels.long()),
        tuple(str(digit) for digit in range(10)),
    )


def read_cifar(kind: type[datasets.CIFAR10], data_path: Path, download: bool) -> TensorSource:
    """Read CIFAR-10 or CIFAR-100 in its official layout, unpickled only after torchvision has checked its MD5 sums.

    Raises:
        InputError: there is no intact copy, or it cannot be downloaded.
    """
    if not download:
        _check_folder(data_path, "give the folder that holds the data, or pass --download")
    try:
        train, test = (kind(data_path, train=train, download=download) for train in (True, False))
    # Whatever the network, the archive or the disk does is for the user to mend.
    except Exception as error:
        raise InputError(_cifar_advice(kind, data_path, download, error)) from error
    return TensorSource(_cifar_tensors(train), _cifar_tensors(test), tuple(train.classes))


def read_image_folder(data_path: Path) -> FileSource:
    """List the image files of train/<class>/* and of val/<class>/* or test/<class>/*.

    Raises:
        InputError: a folder is missing or empty, or the two parts have different classes.
    """
    _check_folder(data_path, "give the folder that holds train/ and val/")
    train, test = _read_part(data_path, "train"), _read_part(data_path, "val", "test")
    different = sorted(set(train.classes) ^ set(test.classes))
    if different:
        raise InputError(
            f"--data_path={str(data_path)!r}: the classes of {Path(train.root).name}/ and {Path(test.root).name}/ "
            f"must be the same, but only one of them has {', '.join(different)}"
        )
    train_files, test_files = ([ImageFile(*sample) for sample in part.samples] for part in (train, test))
    return FileSource(train_files, test_files, tuple(train.classes))


def _cifar_tensors(part: Any) -> Tensors:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Tensors(images, torch.tensor(part.targets))


def _cifar_advice(kind: type[datasets.CIFAR10], data_path: Path, download: bool, error: Exception) -> str:
    path, name = f"--data_path={str(data_path)!r}", kind.__name__
    if download:
        return f"--download: cannot fetch {name} into {path} ({error!r}); unpack {kind.url} there by hand"
    return f"{path} holds no intact copy of {name} in {kind.base_folder}/; pass --download, or unpack {kind.url} there"


def _read_part(data_path: Path, *names: str) -> datasets.ImageFolder:
    """Open the first of the named folders that exists."""
    folder = next((data_path / name for name in names if (data_path / name).is_dir()), None)
    if folder is None:
        listed = " or ".join(f"{name}/" for name in names)
        raise InputError(
            f"--data_path={str(data_path)!r} has no folder {listed}; images belong in train/ and in val/ or test/"
        )
    try:
        return datasets.ImageFolder(folder)
    except FileNotFoundError as error:
        reason = str(error).partition(" Supported extensions")[0].rstrip(".")
        raise InputError(f"--data_path={str(data_path)!r}: in {folder.name}/: {reason}") from error


def _check_folder(data_path: Path, advice: str) -> None:
    if not data_path.is_dir():
        raise InputError(f"--data_path={str(data_path)!r} is not an existing folder; {advice}")
