"""Volumes with the class of every voxel: generated airways, and folders of volumes and masks."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from convnn.data.airways import AirwayTrees, make_airways
from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch, LabelledData
from convnn.data.masks import BINARY_CLASSES, CLASSES, IGNORED, read_names
from convnn.data.options import Options, Statistics
from convnn.data.volumes import Volume, read_volumes, standardised
from convnn.errors import InputError

AIRWAY_CLASSES = ("tissue", "airway")
AIRWAY_COUNTS = {"train": 32, "test": 8}
"""Generated trees in each part."""

UNCHANGED: Statistics = ((0.0,), (1.0,))
"""Statistics of volumes, which are normalised one by one if at all."""


class Part(NamedTuple):
    """Volumes (N, 1, D, H, W) float32, classes (N, D, H, W) uint8, and branches as in `AirwayTrees` if known."""

    volumes: Tensor
    labels: Tensor
    branches: Tensor | None = None


class VolumeLoader(EpochLoader):
    """Batches of volumes that come as they are: no augmentation, no normalisation.

    Args:
        part: the samples.
        settings: settings of the batches.

    Attributes:
        branches: (N, D, H, W) int64, the number of the branch on each centreline of a tree; None where it is not known.
    """

    def __init__(self, part: Part, settings: LoaderSettings) -> None:
        super().__init__(part.volumes.shape[0], settings)
        self._volumes, self._labels = part.volumes.to(settings.device), part.labels.to(settings.device)
        self.branches = part.branches

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, with labels (B, D, H, W) int64."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            yield Batch(self._volumes[indices], self._labels[indices].long(), indices)


@cache
def _airways(part: str) -> AirwayTrees:
    """Make a part of the generated airways, which is the same whenever it is made."""
    return make_airways(AIRWAY_COUNTS[part], seed=tuple(AIRWAY_COUNTS).index(part))


def build_airways(options: Options) -> LabelledData:
    """Build the generated airways."""
    made = {part: _airways(part) for part in AIRWAY_COUNTS}
    parts = {part: Part(one.volumes, one.masks.to(torch.uint8), one.branches) for part, one in made.items()}
    return _build(options, parts, AIRWAY_CLASSES)


def build_volumes(options: Options) -> LabelledData:
    """Build a folder of volumes with masks, below train/, and val/ or test/ or both; each gets mean 0 and deviation 1.

    Raises:
        InputError: a folder is missing, a volume has no mask or another size, or a mask has values that are no classes.
    """
    folders = _folders(options.data_path)
    read = {part: read_volumes(folder) for part, folder in folders.items()}
    classes, is_binary = _classes(options.data_path, read["train"])
    size = read["train"][0].volume.shape
    parts = {}
    for part, found in read.items():
        for one in found:
            _check(one, folders[part], size, classes, is_binary=is_binary)
        labels = torch.stack([_mask(one) for one in found])
        labels = (labels == IGNORED).long() if is_binary else labels
        parts[part] = Part(torch.stack([standardised(one.volume) for one in found]), labels.to(torch.uint8))
    return _build(options, parts, classes)


def _build(options: Options, parts: dict[str, Part], classes: tuple[str, ...]) -> LabelledData:
    loaders = {}
    for name, part in parts.items():
        subset = options.subset(name, len(part.labels))
        settings = options.settings(name, UNCHANGED)
        branches = None if part.branches is None else part.branches[subset]
        loaders[name] = VolumeLoader(Part(part.volumes[subset], part.labels[subset], branches), settings)
    shape = tuple(parts["train"].volumes.shape[1:])
    return LabelledData(
        options.name,
        loaders["train"],
        loaders["test"],
        classes,
        shape,
        *UNCHANGED,
        loaders.get("val"),
        task="segmentation",
        kind="volume",
    )


def _folders(data_path: Path) -> dict[str, Path]:
    """Return the folder of each part; the test part may be in val/."""
    there = {part: data_path / part for part in ("train", "val", "test") if (data_path / part).is_dir()}
    if "train" not in there or len(there) < 2:
        lacks = "train/" if "train" not in there else "val/ or test/"
        raise InputError(
            f"data_path={str(data_path)!r} has no folder {lacks}; volumes, NAME.npz with image and mask or NAME.npy and"
            " NAME_mask.npy, belong in train/, and in val/ or test/"
        )
    return there if "test" in there else {"train": there["train"], "test": there["val"]}


def _classes(data_path: Path, volumes: list[Volume]) -> tuple[tuple[str, ...], bool]:
    """Return the names of the classes, and whether the masks hold 0 and 255 only, of which 255 is the second class.

    Raises:
        InputError: classes.txt is wrong, or there are fewer than two classes.
    """
    names = read_names(data_path / CLASSES)
    found = {value for one in volumes if one.mask is not None for value in one.mask.unique().tolist()}
    is_binary = found == {0, IGNORED} and (names is None or len(names) == 2)
    if names is not None:
        return names, is_binary
    largest = min(max(found - {IGNORED}, default=0), IGNORED - 1)  # a larger value is refused where it is found
    classes = BINARY_CLASSES if is_binary else tuple(map(str, range(largest + 1)))
    if len(classes) < 2:
        raise InputError(
            f"data_path={str(data_path)!r} has masks of the class 0 only in train/, so there is nothing to learn; the"
            " values of masks are the numbers of classes"
        )
    return classes, is_binary


def _check(one: Volume, folder: Path, size: torch.Size, classes: tuple[str, ...], *, is_binary: bool) -> None:
    """Refuse a volume without a mask, of another size than the first, or with values that are no classes."""
    if one.mask is None:
        raise InputError(f"the volume {folder / one.name} has no mask; add the array 'mask', or {one.name}_mask.npy")
    if one.volume.shape != size:
        sides = ["x".join(map(str, shape[1:])) for shape in (one.volume.shape, size)]
        raise InputError(f"the volume {folder / one.name} is {sides[0]} voxels, but the first one is {sides[1]}")
    if not one.volume.isfinite().all():
        raise InputError(f"the volume {folder / one.name} has values that are not finite")
    allowed = torch.tensor([0, IGNORED] if is_binary else [*range(len(classes)), IGNORED])
    wrong = ~torch.isin(one.mask, allowed)
    if wrong.any():
        place = tuple(np.argwhere(wrong.numpy())[0].tolist())
        known = "0 and 255" if is_binary else f"0 to {len(classes) - 1}, and 255 for what is not counted"
        raise InputError(
            f"the mask of {folder / one.name} has the value {one.mask[place].item()} at {place}; with the"
            f" {len(classes)} classes of this set values are {known}"
        )


def _mask(one: Volume) -> Tensor:
    """Return the mask of a volume that has one."""
    assert one.mask is not None
    return one.mask
