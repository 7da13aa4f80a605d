"""Images, and the cameras that saw them."""

from typing import NamedTuple

from torch import Tensor

from convnn.ops.projection import Rig


class Photographs(NamedTuple):
    """What n cameras see of a scene.

    Attributes:
        rig: one rig of n cameras.
        images: (n, 3, H, W) with values from 0 to 1.
        depths: (n, H, W), 0 where there is nothing; None where nobody knows them.
        background: (3,) the colour of nothing.
        points: (P, 3) of the scene, such as structure from motion finds; None where there are none.
    """

    rig: Rig
    images: Tensor
    depths: Tensor | None
    background: Tensor
    points: Tensor | None = None

    def select(self, cameras: slice | Tensor) -> "Photographs":
        """Return what some of the cameras see, by a slice or their numbers (m,) int64."""
        depths = None if self.depths is None else self.depths[cameras]
        return self._replace(rig=self.rig.select(cameras), images=self.images[cameras], depths=depths)

    def camera(self, number: int) -> "Photographs":
        """Return what one camera sees."""
        return self.select(slice(number, number + 1))
