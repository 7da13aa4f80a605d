"""Data sets of points with normals, and of the surfaces they are of."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from convnn.data.interface import LabelledData
from convnn.data.made import MadeLoader
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.data.solids import random_turns
from convnn.data.surfaces.ply import has_faces, read_cloud, read_mesh
from convnn.data.surfaces.shapes import Blend, Box, Shape, Sphere, Torus
from convnn.errors import InputError
from convnn.ops.cloud import Cloud

COUNTS = {"train": 128, "test": 16}
"""Number of generated clouds of each part."""
LENGTH = 400
"""Points of a cloud where nobody says how many."""
COPIES = 2
"""How many times as many points the true surface has."""
NOISE, NORMAL_NOISE = 0.01, 0.1
TRUTH = "truth"
"""The folder with the true surfaces, beside the clouds."""


def build_clouds(options: Options) -> LabelledData:
    """Build generated clouds, or those of PLY files: inputs (B, 6, 1 + R, N) float32.

    The first of the 1 + R copies are the points that a network reads, the others are of the true surface. The six
    numbers are those of a point and its normal.

    Raises:
        InputError: a folder is missing or has no files, or a file cannot be read, has no normals or too few points.
    """
    length, loaders = LENGTH if options.length is None else options.length, []
    for part in COUNTS:
        cloud_of, count = _part(options, part, length)
        loaders.append(MadeLoader(cloud_of, options.subset(part, count), options.settings(part, ((), ()))))
    train, test = loaders
    return LabelledData(options.name, train, test, (), (6, 1 + COPIES, length), (), (), task="modelling", kind="cloud")


def _part(options: Options, part: str, length: int) -> tuple[Callable[[int], Tensor], int]:
    """Return the clouds of a part as float32, by their numbers, and how many there are."""
    if options.name == "ply":
        clouds = read_clouds(options.data_path / part, length)
        return lambda n: draw_cloud(*clouds[n], length, make_generator("ply", part, n)).float(), len(clouds)
    return lambda n: make_cloud(length, make_generator("clouds", part, n)).float(), COUNTS[part]


def make_cloud(length: int, generator: torch.Generator) -> Tensor:
    """Make points of a shape of random sides, turned at random: (6, 1 + R, N), the first with noise.

    Args:
        length: N.
        generator: of the random numbers.
    """
    shape = _shape(generator)
    (turn,) = random_turns(1, generator, torch.double)
    seen = shape.sample(length, generator, noise=NOISE, normal_noise=NORMAL_NOISE)
    return _packed(
        *(Cloud(one.points @ turn, _normals(one) @ turn) for one in (seen, shape.sample(COPIES * length, generator)))
    )


def _shape(generator: torch.Generator) -> Shape:
    a, b, c, which = torch.rand(4, generator=generator).tolist()
    shapes: tuple[Callable[[], Shape], ...] = (
        lambda: Sphere(0.6 + 0.4 * a),
        lambda: Torus(0.6 + 0.2 * a, 0.2 + 0.15 * b),
        lambda: Box((0.4 + 0.5 * a, 0.4 + 0.5 * b, 0.4 + 0.5 * c)),
        lambda: Blend(0.45 + 0.1 * a, 0.5 + 0.1 * b, 0.4 + 0.1 * c),
    )
    return shapes[int(4 * which)]()


def read_clouds(folder: Path, length: int) -> list[tuple[Cloud, Cloud]]:
    """Read the points with normals of the PLY files of a folder, and what is known of their surfaces.

    The true surface of NAME.ply is truth/NAME.ply, a mesh or dense points with normals; without one, the points
    themselves are it.

    Args:
        folder: with files `*.ply`.
        length: the fewest points that a file must have.

    Raises:
        InputError: the folder has no such file, or one cannot be read, has no normals or fewer points.
    """
    paths = sorted(path for path in folder.glob("*.ply") if not path.name.startswith("."))
    if not paths:
        raise InputError(f"'{folder}' has no files *.ply; clouds belong in DIR/train/*.ply and DIR/test/*.ply")
    found = []
    for path in paths:
        cloud, truth = _with_normals(path), folder / TRUTH / path.name
        if len(cloud) < length:
            raise InputError(f"'{path}' has {len(cloud)} points, fewer than length={length}; lower that")
        found.append((cloud, _true(truth, length) if truth.exists() else cloud))
    return found


def _true(path: Path, length: int) -> Cloud:
    """Return points of a true surface."""
    if has_faces(path):
        return read_mesh(path).sample(8 * COPIES * length, make_generator("truth", path.name))
    return _with_normals(path)


def _with_normals(path: Path) -> Cloud:
    cloud = read_cloud(path)
    if cloud.normals is None:
        raise InputError(f"'{path}' has no normals nx, ny, nz, which say what is inside")
    return cloud


def draw_cloud(seen: Cloud, true: Cloud, length: int, generator: torch.Generator) -> Tensor:
    """Draw points of a cloud, and R times as many of its true surface: (6, 1 + R, N); the latter may repeat."""
    first = torch.randperm(len(seen), generator=generator)[:length]
    rest = torch.randint(len(true), (COPIES * length,), generator=generator)
    return _packed(*(Cloud(one.points[rows], _normals(one)[rows]) for one, rows in ((seen, first), (true, rest))))


def _packed(seen: Cloud, true: Cloud) -> Tensor:
    rows = torch.cat([torch.cat([one.points, _normals(one)], 1) for one in (seen, true)])
    return rows.T.reshape(6, 1 + COPIES, len(seen))


def _normals(cloud: Cloud) -> Tensor:
    assert cloud.normals is not None
    return cloud.normals
