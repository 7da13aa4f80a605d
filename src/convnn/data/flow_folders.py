"""Folders of pairs of images with the flow from one to the next, as people have them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.epochs import EpochLoader
from convnn.data.flow_files import SUFFIXES, read_flow
from convnn.data.folders import is_system_file, picture_extensions
from convnn.data.images import BrokenImageError, Size, read_image, to_tensor
from convnn.data.interface import Batch, LabelledData, LabelledPart
from convnn.data.options import Options
from convnn.data.stream import first_size
from convnn.errors import InputError
from convnn.nn.matches.batch import ImagePairs, stack_pairs

PASSES = ("clean", "final")
"""Folders of the frames of Sintel beside its folder of flow; the first that is there is read."""


class PairFiles(NamedTuple):
    """The files of a pair: two images, and the flow from the first to the second."""

    first: Path
    second: Path
    flow: Path


def build_flow_folder(options: Options) -> LabelledData:
    """Build train/ with val/ or test/, either of which is the test part, or all three.

    Raises:
        InputError: a part is missing, or lacks pairs, or a frame or the first pair cannot be used.
    """
    has = [part for part in ("val", "test") if (options.data_path / part).is_dir()]
    if not has:
        raise InputError(f"data_path={str(options.data_path)!r} has neither val/ nor test/, so nothing judges a run")
    train, size = _loader(options, "train", "train", None)
    test, _ = _loader(options, "test", has[-1], size)
    val = _loader(options, "val", "val", size)[0] if len(has) == 2 else None
    return LabelledData(options.name, train, test, (), (3, *size), (), (), val, task="modelling", kind="pair")


def build_flow_part(options: Options, part: str) -> LabelledPart:
    """Build one part of such a folder, whose others may be missing; without test/, "test" is val/."""
    is_val = part == "test" and not (options.data_path / "test").is_dir() and (options.data_path / "val").is_dir()
    folder = "val" if is_val else part
    loader, size = _loader(options, part, folder, None)
    return LabelledPart(folder, loader, (), (3, *size), "pair", "modelling")


def list_pairs(folder: Path) -> list[PairFiles]:
    """List the pairs in and below a folder, one for each flow, NAME.flo or NAME.npy, sorted.

    Its frames are NAME_1 and NAME_2 beside it, with the extension of any picture; or, for flow/SCENE/frame_0007.flo as
    in Sintel, clean/SCENE/frame_0007 and frame_0008, or those in final/.

    Raises:
        InputError: there is no flow, or a frame is missing; the message names it.
    """
    if not folder.is_dir():
        raise InputError(
            f"the folder {folder} does not exist; it should have pairs NAME_1.png, NAME_2.png and NAME.flo"
        )
    inside = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
    flows = [path for path in inside if not any(map(is_system_file, path.relative_to(folder).parts))]
    if not flows:
        raise InputError(f"the folder {folder} has no flow, NAME.flo or NAME.npy beside NAME_1.png and NAME_2.png")
    return [_files_of(flow, folder) for flow in flows]


def _files_of(flow: Path, folder: Path) -> PairFiles:
    scene, number = flow.relative_to(folder).parts, re.fullmatch(r"(.*?)(\d+)", flow.stem)
    if scene[0] == "flow" and number is not None:
        there = [folder / name for name in PASSES if (folder / name).is_dir()]
        base = (there or [folder / PASSES[0]])[0].joinpath(*scene[1:-1])
        digits = number[2]
        stems = [base / f"{number[1]}{int(digits) + step:0{len(digits)}}" for step in (0, 1)]
    else:
        stems = [flow.with_name(f"{flow.stem}_{which}") for which in (1, 2)]
    first, second = (_picture(stem, flow) for stem in stems)
    return PairFiles(first, second, flow)


def _picture(stem: Path, flow: Path) -> Path:
    found = [path for end in sorted(picture_extensions()) if (path := stem.with_name(stem.name + end)).is_file()]
    if not found:
        raise InputError(f"the flow {flow} has no frame {stem}.png, nor with the extension of another picture")
    return found[0]


def _loader(options: Options, part: str, folder: str, size: Size | None) -> tuple["PairLoader", Size]:
    files = list_pairs(options.data_path / folder)
    if options.resize is not None:
        size = (options.resize, options.resize)
    size = size or first_size(files, _size_of, skip_broken=options.on_bad_image == "skip")
    return PairLoader(files, options, part, size), size


def _size_of(files: PairFiles) -> Size:
    height, width = read_pair(files).known.shape[1:]
    return height, width


class PairLoader(EpochLoader):
    """Batches of pairs of files, read when they are asked for.

    Args:
        files: the pairs, of which the options may choose some.
        options: the arguments of `load_data`.
        part: "train", "val" or "test".
        size: height and width to which all are brought, or that all must have.
    """

    def __init__(self, files: list[PairFiles], options: Options, part: str, size: Size) -> None:
        self._files = [files[position] for position in options.subset(part, len(files))]
        super().__init__(len(self._files), options.settings(part, ((), ())))
        self._options, self._size = options, size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch.

        Raises:
            InputError: a file is broken, or has another size; the message names it.
        """
        device = self._settings.device
        for step in self._steps():
            read = [(index, pair) for index in step.indices.tolist() if (pair := self._read(index)) is not None]
            indices = torch.tensor([index for index, _ in read], dtype=torch.long)
            inputs = stack_pairs([pair for _, pair in read], *self._size).to(device)
            yield Batch(inputs, torch.zeros_like(indices).to(device), indices)

    def _read(self, index: int) -> ImagePairs | None:
        """Return a pair, or None of one that is broken and skipped."""
        files = self._files[index]
        try:
            pair = read_pair(files)
        except BrokenImageError as error:
            if self._options.on_bad_image != "skip":
                raise
            self.broken.add(str(error))
            return None
        height, width = pair.known.shape[1:]
        if self._options.resize is not None:
            return fit_pair(pair, self._size, self._options.fit)
        if (height, width) != self._size:
            raise InputError(
                f"the flow {files.flow} is {width}x{height} pixels, but the first of train is {self._size[1]}x"
                f"{self._size[0]}; set resize to bring all pairs to one size"
            )
        return pair


def read_pair(files: PairFiles) -> ImagePairs:
    """Read a pair.

    Raises:
        InputError: a file cannot be read, or their sizes differ; the message names it.
    """
    flow, known = read_flow(files.flow)
    first, second = (to_tensor(read_image(path)) for path in (files.first, files.second))
    for image, path in ((first, files.first), (second, files.second)):
        if image.shape[1:] != known.shape:
            sizes = ["x".join(map(str, reversed(one))) for one in (known.shape, image.shape[1:])]
            raise InputError(f"the flow {files.flow} is {sizes[0]} pixels, but its frame {path} is {sizes[1]}")
    return ImagePairs(*(one.unsqueeze(0) for one in (first.float(), second.float(), flow, known)))


def fit_pair(pair: ImagePairs, size: Size, how: str = "crop") -> ImagePairs:
    """Bring a pair to a size in one of the ways of `convnn.data.FITS`; the flow is scaled as its images are.

    Of padding, which is black, no flow is known.
    """
    sides = pair.known.shape[1:]
    factors = [to / side for to, side in zip(size, sides, strict=True)]
    if how != "stretch":
        factors = [(max if how == "crop" else min)(factors)] * 2
    scaled = [max(1, round(factor * side)) for factor, side in zip(factors, sides, strict=True)]
    if scaled == list(sides) == list(size):
        return pair
    exact = [to / side for to, side in zip(scaled, sides, strict=True)]
    ratio = torch.tensor([exact[1], exact[0]]).reshape(1, 2, 1, 1)
    missing = [to - side for to, side in zip(size, scaled, strict=True)]
    margins = [m for lack in reversed(missing) for m in (lack // 2, lack - lack // 2)]  # below 0, they crop

    def fit(values: Tensor, mode: str) -> Tensor:
        how = {} if mode == "nearest-exact" else {"antialias": True, "align_corners": False}
        return F.pad(F.interpolate(values, scaled, mode=mode, **how), margins)

    known = fit(pair.known.unsqueeze(1).float(), "nearest-exact").squeeze(1) > 0
    first, second = (fit(image, "bilinear") for image in (pair.first, pair.second))
    return ImagePairs(first, second, ratio * fit(pair.flow, "nearest-exact"), known)
