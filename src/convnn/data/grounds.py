"""Discs on the ground around a vehicle, seen by its cameras and from above, made on the spot."""

from collections.abc import Iterator

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.errors import check_at_least
from convnn.ops.projection import Rig, ground_points, rays
from convnn.ops.surround import MAP, METRES, deviating, surround_rig

COUNTS = {"train": 400, "test": 32}
CELLS, CAMERAS = 12, 4
CLASSES = ("ground", "disc")


def build_grounds(options: Options) -> LabelledData:
    """Build scenes of discs, of which each epoch of training has new ones; the shape is that of all images of one."""
    train, test = (GroundLoader(options, part) for part in COUNTS)
    return LabelledData(
        options.name,
        train,
        test,
        CLASSES,
        (CAMERAS, 1, *MAP),
        (),
        (),
        task="segmentation",
        kind="panorama",
    )


class GroundLoader(EpochLoader):
    """Images (B, 4, 1, 12, 20) and the class of each cell of the ground, (B, 12, 12) int64.

    A scene is a function of the number of the drawing, the part, the epoch and its place in the part.
    """

    def __init__(self, options: Options, part: str) -> None:
        self._positions = options.subset(part, COUNTS[part])
        super().__init__(len(self._positions), options.settings(part, ((), ())))
        self._key, self._deviation = ("grounds", options.split or 0, part), options.deviation or 0.0  # at least 0
        self._rig = surround_rig(CAMERAS)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        device = self._settings.device
        for step in self._steps():
            scenes = [self._make(step.epoch, index) for index in step.indices.tolist()]
            images = [image for image, _ in scenes] or [torch.zeros(0, CAMERAS, 1, *MAP)]
            truths = [truth for _, truth in scenes] or [torch.zeros(0, 1, CELLS, CELLS)]
            labels = torch.cat(truths).squeeze(1).long()
            yield Batch(torch.cat(images).to(device), labels.to(device), step.indices.to(device))

    def _make(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        generator = make_generator(*self._key, epoch, self._positions[index])
        return make_scenes(1, self._rig, generator, cells=CELLS, deviation=self._deviation)


def make_scenes(
    number: int, rig: Rig, generator: torch.Generator, *, cells: int = 12, deviation: float = 0.0, discs: int = 6
) -> tuple[Tensor, Tensor]:
    """Make scenes of discs on the ground, and what the cameras see of them, with noise.

    Args:
        number: scenes.
        rig: the calibration, from which the cameras deviate.
        generator: of the random numbers.
        cells: rows and columns of the map seen from above.
        deviation: standard deviation of the angles by which each camera is turned around each of its axes, in degrees.
        discs: discs of a scene, with radii from 0.8 to 1.6 metres.

    Returns:
        Images (number, n, 1, 12, 20), and maps (number, 1, cells, cells) of 0 and 1.
    """
    check_at_least("number", number, 1)
    check_at_least("discs", discs, 1)
    middles = (torch.rand(number, discs, 2, generator=generator) - 0.5) * torch.tensor(METRES)
    radii = 0.8 + 0.8 * torch.rand(number, discs, generator=generator)
    truth = _covered(ground_points((cells, cells), METRES)[:2].flatten(1).T, middles, radii)
    directions, centres = rays(deviating(rig, number, deviation, generator), MAP)
    origin, direction = centres[..., None, :3], directions[..., :3] - centres[..., None, :3]
    falls = direction[..., 2] < -1e-3
    steps = -origin[..., 2] / torch.where(falls, direction[..., 2], -1.0)
    hits = (origin + steps.unsqueeze(-1) * direction)[..., :2]  # (number, n, h * w, 2)
    seen = _covered(hits.flatten(1, 2), middles, radii).unflatten(1, hits.shape[1:3]) & falls
    images = seen.float() + 0.25 * torch.randn(seen.shape, generator=generator)
    return images.unflatten(2, (1, *MAP)), truth.float().unflatten(1, (1, cells, cells))


def _covered(places: Tensor, middles: Tensor, radii: Tensor) -> Tensor:
    """Return whether places (Q, 2) or (B, Q, 2) lie in any of the discs (B, discs): (B, Q) bool."""
    return (torch.cdist(places, middles) < radii.unsqueeze(1)).any(-1)
