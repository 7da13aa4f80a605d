"""Data sets of the photographs of one scene, with their cameras."""

import json
import math
from collections.abc import Iterator, Sequence
from math import pi
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.images import decode
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.data.surfaces.ply import read_cloud
from convnn.data.surfaces.scenes import cameras_around, photograph
from convnn.data.surfaces.shapes import Torus
from convnn.errors import InputError, UnsupportedError
from convnn.ops.photographs import Photographs
from convnn.ops.projection import pinhole

SIDE, POINTS, NOISE = 32, 2000, 0.03
"""Of the generated scene: sides of a photograph, points of the surface, and their deviation."""
COUNTS = {"train": 24, "test": 8}
"""Cameras of the generated scene."""
EVERY = 8
"""Of a file transforms.json without parts, each eighth photograph is for the test, beginning with the first."""
DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")


class PhotographLoader(EpochLoader):
    """Batches of B photographs with their cameras, as `Photographs`; all labels are 0.

    Args:
        scene: all photographs of the part.
        numbers: of those that are shown.
        settings: settings of the batches.
    """

    def __init__(self, scene: Photographs, numbers: Sequence[int], settings: LoaderSettings) -> None:
        super().__init__(len(numbers), settings)
        device = settings.device
        points = None if scene.points is None else scene.points.float().to(device)
        images, background = scene.images.float().to(device), scene.background.float().to(device)
        moved = Photographs(scene.rig.to(device, torch.float32), images, None, background, points)
        self.scene = moved.select(torch.tensor(numbers, device=device))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            yield Batch(self.scene.select(indices), torch.zeros_like(indices), indices)


def build_photographs(options: Options) -> LabelledData:
    """Build the generated scene, or the photographs that a file transforms.json lists.

    Raises:
        InputError: a file is missing or broken, or photographs differ in size.
        UnsupportedError: cameras distort.
    """
    parts = read_transforms(options.data_path, options.resize) if options.name == "transforms" else make_scene()
    loaders = [
        PhotographLoader(scene, options.subset(part, len(scene.images)), options.settings(part, ((), ())))
        for part, scene in parts.items()
    ]
    shapes = [tuple(scene.images.shape[1:]) for scene in parts.values()]
    if len(set(shapes)) > 1:
        raise InputError(f"'{options.data_path}' has photographs of {' and '.join(map(str, shapes))}; take one size")
    by_part = dict(zip(parts, loaders, strict=True))
    train, test, val = by_part["train"], by_part["test"], by_part.get("val")
    return LabelledData(options.name, train, test, (), shapes[0], (), (), val, task="modelling", kind="photograph")


def make_scene() -> dict[str, Photographs]:
    """Make photographs of a ring whose colour is that of its normal, and noisy points of it, for train and test."""
    shape, size = Torus(), (SIDE, SIDE)
    points = shape.sample(POINTS, make_generator("scene"), noise=NOISE).points
    turns = {"train": 0.0, "test": pi / 5}
    rigs = {part: cameras_around(count, size, focal=1.3, turn=turns[part]) for part, count in COUNTS.items()}
    return {part: photograph(shape, rig)._replace(points=points) for part, rig in rigs.items()}


def read_transforms(folder: Path, side: int | None = None) -> dict[str, Photographs]:
    """Read the photographs of one scene and their cameras, as NeRF has them.

    There are transforms_train.json and transforms_test.json, perhaps transforms_val.json; or one transforms.json, of
    which each eighth photograph is for the test. A file has `frames`, each with a `file_path`, to which .png is added
    if it has no suffix, and a `transform_matrix`, 4 x 4 from the camera to the world, where the camera looks along its
    negative third axis and its second is up. The lens is `camera_angle_x`, the horizontal angle of view in radians, or
    `fl_x` in pixels, perhaps with `fl_y`, `cx` and `cy`, for all or in each frame. Transparent pictures are laid on
    white. `ply_file_path` may name points of the scene.

    Args:
        folder: with these files.
        side: to which pictures are scaled along their longer side; None leaves them.

    Raises:
        InputError: a file is missing or broken, a value has another form, or pictures differ in size.
        UnsupportedError: a lens distorts.
    """
    files = {part: folder / f"transforms_{part}.json" for part in ("train", "val", "test")}
    files = {part: path for part, path in files.items() if path.exists()}
    if not files:
        scene = _read(folder / "transforms.json", side)
        numbers = torch.arange(len(scene.images))
        is_test = numbers % EVERY == 0
        if bool(is_test.all()):
            raise InputError(f"'{folder / 'transforms.json'}' has one photograph; two at least are needed, for a test")
        return {"train": scene.select(numbers[~is_test]), "test": scene.select(numbers[is_test])}
    for part in ("train", "test"):
        if part not in files:
            raise InputError(f"'{folder}' has no transforms_{part}.json, but {next(iter(files.values())).name}")
    return {part: _read(path, side) for part, path in files.items()}


def _document(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what a file says of all frames, and of each."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"'{path}' is no JSON file: {error}") from None
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"'{path}' has no list frames, with a file_path and transform_matrix each")
    return document, [document | frame for frame in frames]


def _read(path: Path, side: int | None) -> Photographs:
    """Read the photographs of one file."""
    document, merged = _document(path)
    pictures = [_picture(path, number, frame, side) for number, frame in enumerate(merged)]
    sizes = {tuple(picture.shape) for picture, _ in pictures}
    if len(sizes) > 1:
        raise InputError(f"'{path}' has pictures of {' and '.join(sorted(map(str, sizes)))}; they must have one size")
    images = torch.stack([picture for picture, _ in pictures])
    height, width = images.shape[2:]
    lenses = [
        _lens(path, number, frame, original, width)
        for number, (frame, (_, original)) in enumerate(zip(merged, pictures, strict=True))
    ]
    focal, centre = torch.tensor(lenses, dtype=torch.double).split(2, 1)
    to_world = torch.stack([_pose(path, number, frame) for number, frame in enumerate(merged)])
    rig = pinhole(torch.linalg.inv(to_world), focal, (height, width), centre=centre)
    points = None
    if isinstance(document.get("ply_file_path"), str):
        points = read_cloud(path.parent / document["ply_file_path"]).points
    is_clear = images.shape[1] == 4
    background = torch.ones(3) if is_clear else torch.zeros(3)
    if is_clear:
        images = images[:, :3] * images[:, 3:] + (1 - images[:, 3:])
    return Photographs(rig, images, None, background, points)


def _picture(path: Path, number: int, frame: dict[str, Any], side: int | None) -> tuple[Tensor, tuple[int, int]]:
    """Return a picture (3 or 4, H, W) with values from 0 to 1, and its width and height before it was scaled."""
    name = frame.get("file_path")
    if not isinstance(name, str):
        raise InputError(f"'{path}' has frames[{number}].file_path={name!r}; it must be the path of a picture")
    place = path.parent / name
    picture = decode(place if place.suffix else place.with_name(place.name + ".png"))
    original = picture.size
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    picture = picture.convert("RGBA" if has_alpha else "RGB")
    if side is not None:
        wide, high = (max(1, round(side * length / max(original))) for length in original)
        picture = picture.resize((wide, high), Image.Resampling.BOX)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, -1).permute(2, 0, 1).float() / 255, original


def _lens(path: Path, number: int, frame: dict[str, Any], original: tuple[int, int], width: int) -> list[float]:
    """Return focal lengths and the principal point of a frame, in pixels of the scaled picture."""
    for name in DISTORTIONS:
        if frame.get(name):
            raise UnsupportedError(f"'{path}' has {name}={frame[name]}, a lens that distorts; undistort the pictures")
    angle, length = frame.get("camera_angle_x"), frame.get("fl_x")
    if length is None and isinstance(angle, int | float) and 0 < angle < pi:
        length = original[0] / 2 / math.tan(angle / 2)
    values = [length, frame.get("fl_y", length), frame.get("cx", original[0] / 2), frame.get("cy", original[1] / 2)]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values) or min(values[:2]) <= 0:
        raise InputError(
            f"'{path}' has no lens for frames[{number}]; give camera_angle_x, from 0 to pi, or fl_x in pixels"
        )
    scale = width / original[0]
    return [scale * value for value in values]


def _pose(path: Path, number: int, frame: dict[str, Any]) -> Tensor:
    """Return the matrix (4, 4) from a camera that looks along its third axis, whose second is down, to the world."""
    rows = frame.get("transform_matrix")
    try:
        matrix = torch.tensor(rows, dtype=torch.double)
    except (TypeError, ValueError, RuntimeError):
        matrix = torch.zeros(0)
    if matrix.shape != (4, 4) or not bool(matrix.isfinite().all()) or not abs(float(torch.linalg.det(matrix))) > 0:
        raise InputError(
            f"'{path}' has frames[{number}].transform_matrix={rows}; it must be a 4 x 4 matrix with an inverse"
        )
    return matrix * torch.tensor([1.0, -1, -1, 1], dtype=torch.double)
