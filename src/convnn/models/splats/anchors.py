r"""Gaussians that a network makes, seen from each camera anew, from features of voxels."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive
from convnn.nn._training import Training
from convnn.ops.gaussians import Gaussians


class NeuralGaussians(NamedTuple):
    """The Gaussians that anchors show to a camera.

    Attributes:
        gaussians: N of them, those of the V * K slots whose opacity is above 0, in order.
        colors: (N, 3), from 0 to 1.
        strengths: (V * K,) from -1 to 1, of all slots: the opacity of those shown.
        shown: (V * K,) bool.
    """

    gaussians: Gaussians
    colors: Tensor
    strengths: Tensor
    shown: Tensor


def voxel_anchors(points: Tensor, side: float) -> Tensor:
    """Return the middles of the voxels that have points, sorted: each point rounded to a multiple of the side.

    Args:
        points: (N, 3); halves are rounded to even.
        side: of a voxel.

    Raises:
        InputError: the points are not (N, 3), at least one and finite, or the side is not positive.
    """
    check_positive("side", side)
    if points.dim() != 2 or points.shape[1] != 3 or points.shape[0] == 0 or not points.isfinite().all():
        raise InputError(f"points of shape {tuple(points.shape)} must be (N, 3), at least one, and finite")
    return (points / side).round().unique(dim=0) * side


def neighbor_distance(points: Tensor) -> Tensor:
    """Return the root of the mean squared distance of each point to its 3 nearest others: (V,).

    Raises:
        InputError: there are fewer than 4 points.
    """
    if points.shape[0] < 4:
        raise InputError(f"points of shape {tuple(points.shape)} must be at least 4, so that each has 3 others")
    if points.is_meta:  # of a network that will be given the numbers of a checkpoint
        return points.new_ones(points.shape[0])
    array = points.detach().cpu().numpy()
    distances = cKDTree(array).query(array, k=4)[0][:, 1:]
    return torch.from_numpy(distances).to(points).square().mean(1).clamp(min=1e-7).sqrt()


class AnchorGaussians(nn.Module):
    r"""Anchors in space whose features become K Gaussians each, for the direction in which a camera sees them.

    An anchor has a place a, a feature f (C,), K offsets and 6 logarithms of scales l. From a camera at c, with
    :math:`u = (a - c) / |a - c|` and :math:`x = [f, u]`, its slots have

    .. math:: o = \tanh(\mathrm{MLP}_o(x)), \quad \text{colour} = \sigma(\mathrm{MLP}_c(x)), \quad
        m_k = a + \text{offset}_k \, e^{l_{1 \dots 3}}, \quad
        s_k = e^{l_{4 \dots 6}} \, \sigma(r_{1 \dots 3}), \quad r = \mathrm{MLP}_s(x)

    and the rotation of the other four numbers of r. A slot is a Gaussian where :math:`o > 0`; the others get no
    gradient from this camera. So what is stored is C + 9 + 3 K numbers an anchor and three small networks, rather than
    all properties of every Gaussian.

    With a bank, the feature is first mixed of three resolutions, by weights that depend on direction and distance:
    :math:`f_i \leftarrow b_1 f_{4 (i \bmod C / 4)} + b_2 f_{2 (i \bmod C / 2)} + b_3 f_i`.

    Args:
        anchors: (V, 3) places, such as `voxel_anchors`; they stay where they are.
        channels: C.
        slots: K Gaussians of an anchor.
        bank: whether features are mixed of three resolutions; C must then be divisible by 4.
        distance: whether the networks read the distance to the camera too.
        hidden: width of the networks; None is C.

    Raises:
        InputError: a size is less than 1, C does not fit the bank, or there are fewer than 4 anchors.

    Reference:
        Lu et al., "Scaffold-GS: Structured 3D Gaussians for View-Adaptive Rendering", CVPR 2024; as in Song et al.,
        arXiv 2411.01853.
    """

    trained: ClassVar[Mapping[str, Training]] = {
        "anchors": Training(factor=0.0),
        "features": Training(factor=1.5),
        "offsets": Training(factor=2.0),
    }

    def __init__(
        self,
        anchors: Tensor,
        *,
        channels: int = 32,
        slots: int = 10,
        bank: bool = False,
        distance: bool = False,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        width = channels if hidden is None else hidden
        for name, size in (("channels", channels), ("slots", slots), ("hidden", width)):
            check_at_least(name, size, 1)
        if bank and channels % 4:
            raise InputError(f"channels={channels} must be divisible by 4 for a bank, whose coarsest part is a quarter")
        scale = neighbor_distance(anchors).log()
        self.slots, self.distance = slots, distance
        self.anchors = nn.Parameter(anchors.detach().clone())
        self.features = nn.Parameter(anchors.new_zeros(anchors.shape[0], channels))
        self.offsets = nn.Parameter(anchors.new_zeros(anchors.shape[0], slots, 3))
        self.log_scales = nn.Parameter(scale.unsqueeze(-1).repeat(1, 6))
        reads = channels + 3 + distance
        self.opacity, self.color, self.shape = (
            nn.Sequential(nn.Linear(reads, width), nn.ReLU(), nn.Linear(width, slots * numbers)).to(anchors)
            for numbers in (1, 3, 7)
        )
        self.bank = nn.Sequential(nn.Linear(4, channels), nn.ReLU(), nn.Linear(channels, 3)) if bank else None
        self.to(anchors)

    @torch.no_grad()
    def place(self, anchors: Tensor) -> None:
        """Move the anchors to other places (V, 3), and make their scales those of the distances there."""
        self.anchors.copy_(anchors)
        self.log_scales.copy_(neighbor_distance(self.anchors).log().unsqueeze(-1).expand(-1, 6))

    def forward(self, centre: Tensor) -> NeuralGaussians:
        """Return the Gaussians that a camera at `centre` (3,) sees."""
        if centre.shape != (3,):
            raise InputError(f"centre of shape {tuple(centre.shape)} must be (3,)")
        away = self.anchors - centre
        distance = away.norm(dim=-1, keepdim=True)
        direction = away / distance
        features = self.features if self.bank is None else self._mixed(torch.cat([direction, distance], dim=-1))
        read = torch.cat([features, direction, *([distance] if self.distance else [])], dim=-1)
        strengths = self.opacity(read).tanh().flatten()
        shown = strengths > 0
        colors = self.color(read).sigmoid().unflatten(-1, (self.slots, 3)).flatten(0, 1)[shown]
        shape = self.shape(read).unflatten(-1, (self.slots, 7)).flatten(0, 1)[shown]
        spread, size = self.log_scales.exp().repeat_interleave(self.slots, dim=0)[shown].split(3, dim=-1)
        places = self.anchors.repeat_interleave(self.slots, dim=0)[shown]
        means = places + self.offsets.flatten(0, 1)[shown] * spread
        rotations = F.normalize(shape[:, 3:], dim=-1)
        gaussians = Gaussians(means, size * shape[:, :3].sigmoid(), rotations, strengths[shown])
        return NeuralGaussians(gaussians, colors, strengths, shown)

    def _mixed(self, view: Tensor) -> Tensor:
        assert self.bank is not None
        weights = self.bank(view).softmax(-1)
        parts = [self.features[:, ::step].repeat(1, step) for step in (4, 2, 1)]
        return sum((weights[:, i : i + 1] * part for i, part in enumerate(parts)), torch.zeros_like(parts[0]))

    def extra_repr(self) -> str:
        """Return the numbers of anchors and slots."""
        return f"anchors={self.anchors.shape[0]}, slots={self.slots}, distance={self.distance}"
