"""Volumes with masks in files: arrays of NumPy, one archive or one pair of files for each volume."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from convnn.errors import InputError, first_line
from convnn.files import write_atomically

SUFFIXES = (".npz", ".npy")
MASK = "_mask"
"""What the name of a file with a mask ends in."""


class Volume(NamedTuple):
    """A volume of a folder.

    Attributes:
        name: that of its file, without suffix.
        volume: (1, D, H, W), in the floating type of the file, or else float32.
        mask: (D, H, W) int64, the class of each voxel; None where the file has none.
    """

    name: str
    volume: Tensor
    mask: Tensor | None


def read_volumes(folder: str | Path) -> list[Volume]:
    """Read all volumes of a folder, ordered by name.

    See `read_volume` for the forms that they may have.

    Args:
        folder: folder of such files; others are ignored.

    Raises:
        InputError: the folder has no volume, a file cannot be read, an array has other than three axes or no numbers,
            or a mask has another shape or is not of whole numbers.
    """
    return [read_volume(path) for path in volumes_in(folder)]


def volumes_in(folder: str | Path) -> list[Path]:
    """Return the files of a folder that are volumes, and no masks beside one, ordered by name.

    Raises:
        InputError: there is no such folder, or none in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"folder='{folder}' must be a folder of .npz or .npy files, but there is no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.stem.endswith(MASK))
    if not paths:
        raise InputError(f"folder='{folder}' must have volumes, NAME.npz or NAME.npy, but has none")
    return paths


def read_volume(path: str | Path) -> Volume:
    """Read a volume, and its mask if it has one.

    It is either an archive NAME.npz, as `numpy.savez(path, image=..., mask=...)` writes it, in which the mask may be
    missing; or an array NAME.npy. A mask may also be beside it, in NAME_mask.npz or NAME_mask.npy. Nothing in the files
    is executed.

    Args:
        path: the file with the volume.

    Raises:
        InputError: the file cannot be read, its array has other than three axes or no numbers, or a mask has another
            shape or is not of whole numbers.
    """
    path = Path(path)
    arrays = _loaded(path)
    beside = path.with_name(f"{path.stem}{MASK}{path.suffix}")
    if "mask" not in arrays and beside.exists():
        found = _loaded(beside)
        arrays |= {"mask": found.get("mask", found.get("image"))}
    if "image" not in arrays:
        raise InputError(f"'{path}' must have an array 'image', but has {', '.join(map(repr, arrays)) or 'nothing'}")
    image, mask = arrays["image"], arrays.get("mask")
    if image.ndim != 3 or not (np.issubdtype(image.dtype, np.number) or image.dtype == bool) or np.iscomplexobj(image):
        raise InputError(
            f"'{path}' has an image of shape {image.shape} and {image.dtype}, which must be (D, H, W) real"
        )
    if mask is not None and (mask.shape != image.shape or mask.dtype.kind not in "biu"):
        raise InputError(
            f"'{path}' has a mask of shape {mask.shape} and {mask.dtype}, which must be {image.shape} of whole numbers"
        )
    dtype = image.dtype.newbyteorder("=")
    dtype = dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)
    volume = torch.from_numpy(np.array(image, dtype=dtype))[None]
    return Volume(path.stem, volume, None if mask is None else torch.from_numpy(mask.astype(np.int64)))


def standardised(volume: Tensor) -> Tensor:
    """Return a volume as float32 with mean 0 and standard deviation 1; a constant one is 0."""
    precise = volume.double()
    spread, mean = torch.std_mean(precise, correction=0)
    return ((precise - mean) / spread.clamp(min=1e-9)).float()


def write_mask(mask: Tensor, path: Path) -> None:
    """Write classes (D, H, W) uint8 in the form in which masks beside volumes are read: an array, or an archive of it.

    Raises:
        OutputError: the file cannot be written.
    """
    file = BytesIO()
    if path.suffix == ".npz":
        np.savez_compressed(file, mask=mask.numpy())
    else:
        np.save(file, mask.numpy())
    write_atomically(path, file.getvalue())


def _loaded(path: Path) -> dict[str, Any]:
    """Return the arrays of an archive by name, or that of a file as "image"."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, NpzFile):
                return {name: found[name] for name in found.files if name in ("image", "mask")}
            return {"image": found}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"'{path}' cannot be read as arrays of NumPy: {first_line(error)}") from None
