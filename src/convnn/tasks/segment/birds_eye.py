"""Segmentation of the ground around a vehicle, seen from above, from the images of its cameras: on generated scenes."""

from collections.abc import Sequence
from math import cos, pi, radians, sin, tan
from typing import cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.nn.windows.projected import ProjectedAttention2d
from convnn.ops.neighbors import Neighbors
from convnn.ops.projection import Rig, ground_points, rays
from convnn.viz.figure import COLORS, own_style, write_title

IMAGE = (48, 80)
MAP = (12, 20)
METRES = (12.0, 12.0)


def surround_rig(cameras: int = 4, *, height: float = 2.0, pitch: float = 30.0, field: float = 100.0) -> Rig:
    """Return cameras in the middle of the vehicle that look in equally spaced directions, the first one ahead.

    Args:
        cameras: their number.
        height: of the cameras above the ground, in metres.
        pitch: by how many degrees they look down.
        field: degrees that an image spans from left to right, below 180.

    Raises:
        InputError: there is no camera, or it is not above the ground.
    """
    check_at_least("cameras", cameras, 1)
    check_positive("height", height)
    down = radians(pitch)
    focal = IMAGE[1] / 2 / tan(radians(field) / 2)
    intrinsics = torch.tensor([[focal, 0, IMAGE[1] / 2], [0, focal, IMAGE[0] / 2], [0, 0, 1]])
    poses = []
    for camera in range(cameras):
        yaw = 2 * pi * camera / cameras
        forward = torch.tensor([cos(yaw) * cos(down), sin(yaw) * cos(down), -sin(down)])
        right = torch.tensor([sin(yaw), -cos(yaw), 0.0])
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose = torch.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ torch.tensor([0, 0, height])
        poses.append(pose)
    return Rig(intrinsics.expand(1, cameras, 3, 3), torch.stack(poses).unsqueeze(0), IMAGE)


def deviating(rig: Rig, number: int, degrees: float, generator: torch.Generator) -> Rig:
    """Return rigs whose cameras are turned around their axes by normally distributed angles, one rig for each scene."""
    check_not_negative("degrees", degrees)
    cameras = rig.extrinsics.shape[1]
    x, y, z = (torch.randn(3, number, cameras, generator=generator) * radians(degrees)).unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    turn = torch.eye(4).repeat(number, cameras, 1, 1)
    turn[..., :3, :3] = torch.linalg.matrix_exp(cross)
    return rig._replace(
        intrinsics=rig.intrinsics.expand(number, -1, -1, -1),
        extrinsics=turn @ rig.extrinsics,
    )


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


class BirdsEyeNetwork(nn.Module):
    """Camera images to logits of the ground: a convolution, attention to projected windows, two convolutions.

    Args:
        kernel_size: rows and columns of the windows.
        dim: channels of the map seen from above, whose learned prior asks.
        heads: number of heads, each of dim / heads channels.
        cells: rows and columns of the map seen from above, METRES in size.
        channels: channels of the camera maps.

    Raises:
        InputError: the heads do not divide the channels.

    Reference:
        arXiv 2206.04584. The published network has EfficientNet-B4 before, and its decoder after two such layers.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int] = (3, 3),
        *,
        dim: int = 16,
        heads: int = 2,
        cells: int = 12,
        channels: int = 8,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise InputError(f"dim={dim} must be a multiple of heads={heads}")
        self.register_buffer("points", ground_points((cells, cells), METRES), persistent=False)
        self.points: Tensor
        self.prior = nn.Parameter(torch.randn(dim, cells, cells))
        self.encode = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU())
        self.attend = ProjectedAttention2d(dim, channels, kernel_size=kernel_size, heads=heads, dim_head=dim // heads)
        self.decode = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, 1, 1))

    def forward(self, images: Tensor, rig: Rig, table: Neighbors | None = None) -> Tensor:
        """Map images (B, n, 1, h, w) to logits (B, 1, cells, cells); `table` as in `ProjectedAttention2d`."""
        features = self.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        prior = self.prior.expand(images.shape[0], -1, -1, -1)
        return self.decode(self.attend(prior, features, rig, self.points, table))


def train(
    network: BirdsEyeNetwork, rig: Rig, *, steps: int, seed: int = 0, deviation: float = 0.0, batch_size: int = 4
) -> list[float]:
    """Train on new scenes in every step, by Adam on the binary cross-entropy, and return the losses.

    The network is told the calibration, and not by how much the cameras deviate from it. Its look-up table is computed
    once.
    """
    check_at_least("steps", steps, 1)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    table = network.attend.table(network.points, rig, MAP)
    losses = []
    network.train()
    for _ in range(steps):
        images, truth = make_scenes(batch_size, rig, generator, cells=network.points.shape[1], deviation=deviation)
        loss = F.binary_cross_entropy_with_logits(network(images, rig, table), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def evaluate(
    network: BirdsEyeNetwork, rig: Rig, *, scenes: int = 32, seed: int = 1000, deviation: float = 0.0
) -> float:
    """Return the intersection over union of found and true ground, over all cells of new scenes."""
    generator = torch.Generator().manual_seed(seed)
    images, truth = make_scenes(scenes, rig, generator, cells=network.points.shape[1], deviation=deviation)
    found, wanted = network.eval()(images, rig) > 0, truth > 0
    return ((found & wanted).sum() / (found | wanted).sum().clamp(min=1)).item()


@own_style()
@torch.no_grad()
def draw(network: BirdsEyeNetwork, rig: Rig, cell: tuple[int, int], *, seed: int = 2000) -> Figure:
    """Draw the camera images of a scene, the windows in them to which one cell attends, and the ground: true and found.

    Args:
        network: the network.
        rig: the calibration.
        cell: row and column.
        seed: seed of the scene.

    Raises:
        InputError: there is no such cell.
    """
    cells = network.points.shape[1]
    if len(cell) != 2 or not all(0 <= place < cells for place in cell):
        raise InputError(f"cell={cell} must be a row and a column of the {cells} x {cells} cells")
    images, truth = make_scenes(1, rig, torch.Generator().manual_seed(seed), cells=cells)
    shares = network.eval()(images, rig).sigmoid()
    indices, _, absent = network.attend.table(network.points, rig, MAP)
    here = torch.zeros(cells, cells, dtype=torch.bool)
    here[cell] = True
    own = indices[0, here.flatten()]
    chosen = torch.zeros(images[0].numel(), dtype=torch.bool)
    chosen[own if absent is None else own[~absent[0, here.flatten()]]] = True
    chosen = chosen.view(-1, *MAP)
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    above, below = cast(Sequence[SubFigure], figure.subfigures(2, 1, height_ratios=[1, 2]))
    for number, panel in enumerate(above.subplots(1, images.shape[1])):
        panel.imshow(images[0, number, 0].numpy(), cmap="gray", vmin=-0.3, vmax=1.3)
        _frame(panel, chosen[number])
        write_title(panel, f"camera {number + 1}")
    titles = ("the ground", "found")
    for panel, title, ground in zip(below.subplots(1, 2), titles, (truth, shares), strict=True):
        panel.imshow(ground[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        _frame(panel, here)
        panel.plot((cells - 1) / 2, (cells - 1) / 2, marker="^", color=COLORS[0], markersize=9)
        write_title(panel, title)
    return figure


def _frame(panel: Axes, chosen: Tensor) -> None:
    """Draw a frame around each chosen position and hide the axes."""
    panel.set_xticks([])
    panel.set_yticks([])
    for row, column in chosen.nonzero().tolist():
        left, right, top, bottom = column - 0.5, column + 0.5, row - 0.5, row + 0.5
        panel.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=COLORS[1], linewidth=1.5)
