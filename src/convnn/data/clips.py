"""Clips: generated ones whose motion is known, and those of folders of frames."""

from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from convnn.data.epochs import LoaderSettings
from convnn.data.folders import is_picture
from convnn.data.images import read_image, to_tensor
from convnn.data.interface import LabelledData
from convnn.data.made import MadeLoader
from convnn.data.options import Options, Statistics
from convnn.data.seeds import make_generator
from convnn.errors import InputError, check_at_least, check_choice, check_not_negative
from convnn.files import make_folder, write_atomically

PHOTOGRAPHS = ("china", "flower")
OCTAVES = (4, 8, 16, 32)
COUNTS = {"train": 512, "test": 32}
"""Number of generated clips of each part."""
FRAMES = 3
"""Frames of a clip of a data set."""
UNCHANGED: Statistics = ((0.0,) * 3, (1.0,) * 3)


class Clips(NamedTuple):
    """Clips and their motion.

    Attributes:
        frames: (B, T, 3, H, W) with values from 0 to 1.
        flows: (B, T - 1, 2, H, W): where each position lies in the frame before, in pixels.
    """

    frames: Tensor
    flows: Tensor


def moving_clips(
    number: int, generator: torch.Generator, *, frames: int = 3, side: int = 64, speed: float = 3.0, gain: float = 0.1
) -> Clips:
    """Make clips of a random texture that moves, with a disc of another texture that moves in its own way.

    The textures are smooth noise at four scales. The whole frame becomes lighter or darker from frame to frame.

    Args:
        number: of clips.
        generator: of the random numbers.
        frames: T, of a clip.
        side: of a frame.
        speed: the largest motion along each axis, in pixels of a frame; motions are not whole numbers.
        gain: the largest change of brightness of a frame, as a share.

    Raises:
        InputError: a number is out of range.
    """
    canvases = [_textures(number, side, generator) for _ in range(2)]
    origins = [side * torch.rand(number, 2, generator=generator) / 4 for _ in range(2)]
    return _moving(canvases, origins, generator, frames=frames, side=side, speed=speed, gain=gain)


def moving_crops(
    number: int,
    generator: torch.Generator,
    *,
    photograph: str = "china",
    frames: int = 3,
    side: int = 64,
    speed: float = 3.0,
    gain: float = 0.1,
) -> Clips:
    """Make clips of a crop that moves over a photograph of scikit-learn, with a disc of another crop in front.

    Args:
        photograph: "china" or "flower"; it is used at half of its resolution, 213 x 320.
        number, generator, frames, side, speed, gain: see `moving_clips`.

    Raises:
        InputError: a number is out of range, or the photograph is unknown.
    """
    check_choice("photograph", photograph, PHOTOGRAPHS)
    canvas = _photograph(photograph).expand(number, -1, -1, -1)
    room = torch.tensor([canvas.shape[3], canvas.shape[2]]) - side
    origins = [room * torch.rand(number, 2, generator=generator) for _ in range(2)]
    return _moving([canvas, canvas], origins, generator, frames=frames, side=side, speed=speed, gain=gain)


@cache
def _photograph(name: str) -> Tensor:
    from sklearn.datasets import load_sample_image

    image = torch.from_numpy(load_sample_image(f"{name}.jpg").copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
    return F.avg_pool2d(image, 2)


def _textures(number: int, side: int, generator: torch.Generator) -> Tensor:
    """Return canvases (number, 3, 2 side, 2 side) with values from 0 to 1."""
    check_at_least("number", number, 1)
    check_at_least("side", side, 1)
    total = torch.zeros(number, 3, 2 * side, 2 * side)
    for cells in OCTAVES:
        coarse = torch.randn(number, 3, cells, cells, generator=generator) / cells**0.5
        total += F.interpolate(coarse, (2 * side, 2 * side), mode="bicubic", align_corners=True)
    return torch.sigmoid(2 * total)


def _moving(
    canvases: list[Tensor],
    origins: list[Tensor],
    generator: torch.Generator,
    *,
    frames: int,
    side: int,
    speed: float,
    gain: float,
) -> Clips:
    """Move the first canvas behind a disc of the second."""
    check_at_least("frames", frames, 1)
    check_not_negative("speed", speed)
    check_not_negative("gain", gain)
    number = canvases[0].shape[0]
    behind, ahead = (speed * (2 * torch.rand(number, 2, generator=generator) - 1) for _ in range(2))
    middle = side * (0.25 + 0.5 * torch.rand(number, 2, generator=generator))
    radius = side * (0.12 + 0.13 * torch.rand(number, 1, 1, generator=generator))
    brighter = gain * (2 * torch.rand(number, 1, 1, 1, generator=generator) - 1)
    places = torch.stack(torch.meshgrid(*[torch.arange(side).float()] * 2, indexing="xy"))  # x, then y
    shown, flows = [], []
    for time in range(frames):
        away = places - (middle + time * ahead)[..., None, None]
        inside = (away.square().sum(1) < radius.square()).unsqueeze(1)
        back = _sampled(canvases[0], places + (origins[0] + time * behind)[..., None, None])
        front = _sampled(canvases[1], places + (origins[1] - time * ahead)[..., None, None])
        light = 1 + brighter * (time - (frames - 1) / 2)
        shown.append((torch.where(inside, front, back) * light).clamp(0, 1))
        flows.append(torch.where(inside, -ahead[..., None, None], behind[..., None, None]))
    return Clips(torch.stack(shown, 1), torch.stack(flows, 1)[:, 1:])


def _sampled(canvas: Tensor, places: Tensor) -> Tensor:
    """Return a canvas (B, 3, h, w) at places (B, 2, H, W); beyond its edge it is mirrored."""
    size = torch.tensor([canvas.shape[3], canvas.shape[2]])
    grid = (2 * places.permute(0, 2, 3, 1) + 1) / size - 1
    return F.grid_sample(canvas, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(0, 1)


def read_clip(folder: Path | str) -> Tensor:
    """Read the pictures of a folder, in the order of their names, as a clip (T, 3, H, W) with values from 0 to 1.

    Raises:
        InputError: the folder is missing, has no picture, or pictures of different sizes, or one is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"clip '{folder}' is no folder; name one with the frames as pictures")
    paths = sorted(path for path in folder.iterdir() if is_picture(path.name) and not path.name.startswith("."))
    if not paths:
        raise InputError(f"clip '{folder}' has no pictures; its frames must be there, such as 0001.png")
    frames = [to_tensor(read_image(path)) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise InputError(
                f"'{path}' has {frame.shape[1]}x{frame.shape[2]} pixels, but '{paths[0].name}' has"
                f" {frames[0].shape[1]}x{frames[0].shape[2]}; all frames of a clip must have one size"
            )
    return torch.stack(frames).float() / 255


def read_clips(data_path: Path | str) -> dict[str, Tensor]:
    """Read the clips of a folder with one folder of frames for each, DIR/CLIP/*.png, by their names.

    Raises:
        InputError: there is no clip, or one cannot be read.
    """
    root = Path(data_path)
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    folders = [folder for folder in folders if not folder.name.startswith(".")]
    if not folders:
        raise InputError(f"data_path={str(data_path)!r} has no folders of frames; clips belong in DIR/CLIP/0001.png")
    return {folder.name: read_clip(folder) for folder in folders}


def write_frames(frames: Tensor, folder: Path | str) -> list[Path]:
    """Write frames (T, 3, H, W) with values from 0 to 1 as 0001.png and so on, and return the paths.

    Raises:
        OutputError: a file cannot be written.
    """
    folder, paths = make_folder(Path(folder), "folder"), []
    for number, frame in enumerate((255 * frames).round().clamp(0, 255).to(torch.uint8), 1):
        buffer = BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(buffer, "PNG")
        paths.append(folder / f"{number:04d}.png")
        write_atomically(paths[-1], buffer.getvalue())
    return paths


class ClipLoader(MadeLoader):
    """Batches of clips (B, T, 3, H, W) with values from 0 to 1, which are kept as bytes.

    Args:
        clip_of: function of a number that returns a clip (T, 3, H, W).
        numbers, settings: as in `MadeLoader`.
    """

    def __init__(self, clip_of: Callable[[int], Tensor], numbers: Sequence[int], settings: LoaderSettings) -> None:
        super().__init__(lambda number: (255 * clip_of(number)).round().to(torch.uint8), numbers, settings)

    def _inputs(self, samples: Tensor) -> Tensor:
        return samples.float() / 255


def build_clips(options: Options) -> LabelledData:
    """Build generated clips, or those of folders, cut into pieces of three frames.

    Raises:
        InputError: a folder is missing or has no clip of so many frames, or clips differ in size.
    """
    loaders, shapes = [], []
    for part in COUNTS:
        clip_of, count = _part(options, part)
        loaders.append(ClipLoader(clip_of, options.subset(part, count), options.settings(part, UNCHANGED)))
        shapes.append(tuple(clip_of(0).shape[1:]))
    if shapes[0] != shapes[1]:
        raise InputError(f"clips of train have frames of {shapes[0]}, but those of test {shapes[1]}")
    train, test = loaders
    return LabelledData(options.name, train, test, (), shapes[0], *UNCHANGED, task="modelling", kind="clip")


def _part(options: Options, part: str) -> tuple[Callable[[int], Tensor], int]:
    """Return the clips of a part, by their numbers, and how many there are."""
    if options.name == "frames":
        pieces = _pieces(read_clips(options.data_path / part), options.data_path / part)
        return pieces.__getitem__, pieces.shape[0]

    def made(number: int) -> Tensor:
        generator = make_generator("clips", part, options.name, number)
        if options.name == "moving_textures":
            return moving_clips(1, generator, frames=FRAMES).frames[0]
        return moving_crops(1, generator, photograph=PHOTOGRAPHS[part == "test"], frames=FRAMES).frames[0]

    return made, COUNTS[part]


def _pieces(clips: dict[str, Tensor], folder: Path) -> Tensor:
    """Return all pieces of three frames in a row."""
    first, *others = clips.items()
    for name, clip in others:
        if clip.shape[1:] != first[1].shape[1:]:
            raise InputError(
                f"clip '{folder / name}' has frames of {clip.shape[2]}x{clip.shape[3]} pixels, but '{first[0]}' of"
                f" {first[1].shape[2]}x{first[1].shape[3]}; clips of a part must have one size"
            )
    pieces = [piece for clip in clips.values() for piece in clip.split(FRAMES) if piece.shape[0] == FRAMES]
    if not pieces:
        raise InputError(f"'{folder}' has no clip of at least {FRAMES} frames")
    return torch.stack(pieces)
