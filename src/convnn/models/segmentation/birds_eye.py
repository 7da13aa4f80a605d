"""A network from the images of the cameras around a vehicle to the ground seen from above."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.nn.windows.projected import ProjectedAttention2d
from convnn.ops.neighbors import Neighbors
from convnn.ops.projection import Rig, ground_points
from convnn.ops.surround import IMAGE, MAP, METRES, surround_rig


class BirdsEyeNetwork(Network):
    """Camera images to logits of the ground: a convolution, attention to projected windows, two convolutions.

    The cameras are those of `convnn.ops.surround.surround_rig`, for which the windows are looked up in a table that is
    computed once. They may deviate from their calibration, which the network is not told.

    Args:
        layer: not read.
        in_channels: channels of an image.
        num_classes: number of classes of a cell.
        width: factor on d_hidden.
        cameras: number of cameras.
        kernel_size: rows and columns of the windows.
        d_hidden: channels of the map seen from above, whose learned prior asks; the camera maps have half as many.
        num_heads: number of heads, which divides the channels.
        cells: rows and columns of the map seen from above.

    Shapes:
        images (B, cameras, C, 12, 20); logits (B, num_classes, cells, cells).

    Raises:
        InputError: an argument is out of range; in forward: the images have another shape.

    Reference:
        Chen et al., "Efficient and Robust 2D-to-BEV Representation Learning via Geometry-guided Kernel Transformer",
        arXiv 2206.04584. The published network has EfficientNet-B4 before, and its decoder after two such layers.
    """

    task: ClassVar[str] = "segmentation"
    data: ClassVar[str] = "panoramas"
    default_layer: ClassVar[str] = "Conv2d"
    built_of: ClassVar[tuple[str, ...] | None] = ()
    intrinsics: Tensor
    extrinsics: Tensor
    points: Tensor
    windows: Tensor
    absent: Tensor | None

    def __init__(
        self,
        layer: LayerFactory | None = None,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        cameras: int = 4,
        kernel_size: int = 3,
        d_hidden: int = 16,
        num_heads: int = 2,
        cells: int = 12,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        dim = self.scaled(d_hidden)
        if dim % num_heads:
            raise InputError(f"num_heads={num_heads} must divide d_hidden={d_hidden} times width={width}, {dim}")
        self.prior = nn.Parameter(torch.randn(dim, cells, cells))
        channels = max(1, dim // 2)
        self.encode = nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU())
        sizes: dict[str, Any] = {"heads": num_heads, "dim_head": dim // num_heads}
        self.attend = ProjectedAttention2d(dim, channels, kernel_size=(kernel_size, kernel_size), **sizes)
        self.decode = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, num_classes, 1))
        self._look_up(cameras, cells)

    def _look_up(self, cameras: int, cells: int) -> None:
        """Keep the calibration and the windows, which checkpoints need not have."""
        with torch.device("cpu"):  # also where weights get no memory
            rig, points = surround_rig(cameras), ground_points((cells, cells), METRES)
            table = self.attend.table(points, rig, MAP)
        kept = {"intrinsics": rig.intrinsics, "extrinsics": rig.extrinsics, "points": points}
        for name, tensor in (kept | {"windows": table.indices, "absent": table.absent}).items():
            self.register_buffer(name, tensor, persistent=False)

    @classmethod
    def sizes(cls, shape: tuple[int, ...]) -> dict[str, int]:
        """Return the numbers of channels and of cameras of data (n, C, h, w)."""
        return {"in_channels": shape[1], "cameras": shape[0]}

    @property
    def rig(self) -> Rig:
        """The calibration."""
        return Rig(self.intrinsics, self.extrinsics, IMAGE)

    @property
    def table(self) -> Neighbors:
        """The windows of all cells in the maps of all cameras."""
        return Neighbors(self.windows, None, self.absent)

    def forward(self, images: Tensor, rig: Rig | None = None) -> Tensor:
        """Map images (B, n, C, h, w) to logits (B, num_classes, cells, cells).

        Args:
            images: images of the cameras.
            rig: another calibration, for which windows are computed anew.

        Raises:
            InputError: the images have another shape.
        """
        wanted = (self.intrinsics.shape[1], self.in_channels, *MAP)
        if images.dim() != 5 or images.shape[1:] != wanted:
            raise InputError(f"images of shape {tuple(images.shape)} must be (B, {', '.join(map(str, wanted))})")
        features = self.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        prior = self.prior.repeat(images.shape[0], 1, 1, 1)  # no view, which the counter of operations refuses
        known = (self.rig, self.points, self.table) if rig is None else (rig, self.points)
        logits: Tensor = self.decode(self.attend(prior, features, *known))
        return logits


@register_model(BirdsEyeNetwork, decided=("cells",))
def gkt(layer: LayerFactory, **settings: Any) -> BirdsEyeNetwork:
    """The ground around a vehicle from its cameras, by attention to projected windows (GKT)."""
    return BirdsEyeNetwork(layer, **settings)
