"""Pairs of images under a smooth motion that is known everywhere, made on the spot."""

import math
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.epochs import EpochLoader
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.errors import check_at_least
from convnn.nn.matches.batch import ImagePairs, stack_pairs

SIDE = 64
COUNTS = {"train": 400, "test": 100}
PHOTOGRAPHS = {"train": (0.0, 0.6), "test": (0.6, 1.0)}
"""Which part of the width of the photographs each part of the data shows."""

TURN, STRETCH, SHIFT, WOBBLE = 0.15, 0.1, 1 / 12, 1 / 50
"""The largest angle in radians, logarithm of a factor, and shift; the deviation of the rest, as shares of a side."""

PIECES = 4
"""Number of pieces of a photograph from which one is chosen."""

NOISE, GAIN = 2.0, 0.1
"""Deviation of the noise of each image, and largest relative change of the brightness of the second."""


def build_motions(options: Options) -> LabelledData:
    """Build pairs of a photograph or a texture, and the same after a motion; in training each epoch has new ones."""
    side = SIDE if options.resize is None else options.resize
    train, test = (MotionLoader(options, part, side) for part in ("train", "test"))
    return LabelledData(options.name, train, test, (), (3, side, side), (), (), task="modelling", kind="pair")


class MotionLoader(EpochLoader):
    """Pairs that are a function of the number of the drawing, the part, the epoch and their place in the part."""

    def __init__(self, options: Options, part: str, side: int) -> None:
        self._positions = options.subset(part, COUNTS[part])
        super().__init__(len(self._positions), options.settings(part, ((), ())))
        self._key, self._part, self._side = ("motions", options.split or 0, part), part, side  # at least 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            pairs = [self._make(step.epoch, index) for index in step.indices.tolist()]
            inputs = stack_pairs(pairs, self._side, self._side).to(self._settings.device)
            yield Batch(inputs, torch.zeros_like(step.indices).to(self._settings.device), step.indices)

    def _make(self, epoch: int, index: int) -> ImagePairs:
        generator = make_generator(*self._key, epoch, self._positions[index])
        return make_motion(self._side, generator, self._part)


def make_motion(side: int, generator: torch.Generator, part: str = "train") -> ImagePairs:
    """Make a pair: half of the time of a piece of a photograph, otherwise of a texture.

    Both images show one canvas, the second at places q, the first at p + flow(p), between pixels by cubic convolution,
    so that the flow is exact. Each has noise of its own.

    Args:
        side: pixels along each side.
        generator: of the random numbers, on the CPU.
        part: "train" or "test", which show different pieces of the photographs.

    Returns:
        One pair; the flow is known where the pixel stays in the image.
    """
    is_photograph = torch.rand((), generator=generator) < 0.5
    canvas = _photograph(side, generator, part) if is_photograph else _texture(side, generator)
    flow = smooth_motion(side, generator)
    places = _places(side)
    first, second = (_seen(canvas, at) for at in (places + flow, places))
    second = second * (1 + GAIN * _between(1, generator))
    first, second = (
        (one + NOISE * torch.randn(one.shape, generator=generator)).clamp(0, 255) for one in (first, second)
    )
    return ImagePairs(first, second, flow, ((places + flow).abs() <= side / 2).all(1))


def smooth_motion(side: int, generator: torch.Generator) -> Tensor:
    """Return a random turn, stretch and shift with something smooth added: (1, 2, side, side), in pixels."""
    angle, wide, high, right, down = _between(5, generator).tolist()
    cos, sin = math.cos(TURN * angle), math.sin(TURN * angle)
    matrix = torch.tensor([[cos, -sin], [sin, cos]]) @ torch.tensor([wide, high]).mul(STRETCH).exp().diag()
    turned = torch.einsum("ij,bjhw->bihw", matrix - torch.eye(2), _places(side))
    shift = SHIFT * side * torch.tensor([right, down]).reshape(1, 2, 1, 1)
    return turned + shift + WOBBLE * side * smooth_maps(2, side, 4, generator)


def smooth_maps(channels: int, side: int, cells: int, generator: torch.Generator) -> Tensor:
    """Return random smooth maps (1, channels, side, side): normal numbers on cells x cells points, bicubic between.

    Raises:
        InputError: a number is below 1.
    """
    for name, value in (("channels", channels), ("side", side), ("cells", cells)):
        check_at_least(name, value, 1)
    coarse = torch.randn(1, channels, cells, cells, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)


@cache
def photographs() -> tuple[Tensor, ...]:
    """Return the photographs of scikit-learn at half of their size, (1, 3, H, W) each, with values from 0 to 255."""
    from sklearn.datasets import load_sample_images  # takes a second to import

    pictures = [torch.from_numpy(picture.copy()) for picture in load_sample_images().images]
    return tuple(F.avg_pool2d(picture.permute(2, 0, 1).float().unsqueeze(0), 2) for picture in pictures)


def _photograph(side: int, generator: torch.Generator, part: str) -> Tensor:
    """Return a piece of a photograph, turned and enlarged at random, with a margin of a quarter of the side.

    Of a few pieces it is the one of the most contrast, since nobody sees the sky move.
    """
    pictures = photographs()
    picture = pictures[int(torch.randint(len(pictures), (), generator=generator))]
    left, right = (round(share * picture.shape[3]) for share in PHOTOGRAPHS[part])
    picture = picture[..., left:right]
    angle, scale = math.pi * _between(1, generator), 0.8 + 0.2 * _between(1, generator)
    turn = scale * torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    size = torch.tensor([picture.shape[3], picture.shape[2]])
    centres = (torch.rand(PIECES, 2, generator=generator) - 0.5) * (size - side).clamp_min(0)
    turned = torch.einsum("ij,bjhw->bihw", turn, _places(side + side // 2))
    pieces = [_seen(picture, turned + centre.reshape(1, 2, 1, 1)) for centre in centres]
    return max(pieces, key=lambda piece: piece.std().item())


def _texture(side: int, generator: torch.Generator) -> Tensor:
    """Return coloured noise, coarse and fine, with a margin of a quarter of the side."""
    side = side + side // 2
    sizes = [cells for cells in (4, 8, 16, 32, 64) if cells <= side]
    layers = [smooth_maps(3, side, cells, generator) / cells**0.4 for cells in sizes]
    return 255 * torch.stack(layers).sum(0).mul(1.5).sigmoid()


def _places(side: int) -> Tensor:
    """Return x and y of all pixels, from the middle of the image, (1, 2, side, side)."""
    line = torch.arange(side) - (side - 1) / 2
    return torch.stack([line.expand(side, -1), line.unsqueeze(1).expand(-1, side)]).unsqueeze(0)


def _seen(canvas: Tensor, places: Tensor) -> Tensor:
    """Return a canvas (1, C, H, W) at places in its pixels, from its middle; beyond its edge it is mirrored."""
    size = torch.tensor([canvas.shape[3], canvas.shape[2]]).reshape(1, 2, 1, 1)
    grid = (2 * places / size).permute(0, 2, 3, 1)
    return F.grid_sample(canvas, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(0, 255)


def _between(count: int, generator: torch.Generator) -> Tensor:
    """Return numbers (count,) from -1 to 1."""
    return 2 * torch.rand(count, generator=generator) - 1
