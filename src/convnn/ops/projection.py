r"""Projection: which positions of the maps of several cameras lie around the images of points in space."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.ops.neighbors import Neighbors

NEAREST_DEPTH = 1e-5


class Rig(NamedTuple):
    """The calibration of n cameras, of one rig (B = 1) or of one for each sample.

    Attributes:
        intrinsics: (B, n, 3, 3), from directions in front of a camera to pixels.
        extrinsics: (B, n, 4, 4), from the vehicle to the camera, which looks along its third axis.
        image_size: height and width, in pixels, of the images that the intrinsics refer to.
    """

    intrinsics: Tensor
    extrinsics: Tensor
    image_size: tuple[int, int]

    def check(self) -> None:
        """Check shapes, and that both kinds of matrices can be inverted.

        Raises:
            InputError: the shapes are not those above, a side of the image is not positive, or a matrix is singular or
                not finite.
        """
        height, width = self.image_size
        check_at_least("image_size[0]", height, 1)
        check_at_least("image_size[1]", width, 1)
        for name, side in (("intrinsics", 3), ("extrinsics", 4)):
            matrices = getattr(self, name)
            if matrices.dim() != 4 or matrices.shape[2:] != (side, side) or not matrices.is_floating_point():
                raise InputError(
                    f"{name} of shape {tuple(matrices.shape)} and {matrices.dtype} must be floating and"
                    f" (B, cameras, {side}, {side})"
                )
            singular = (torch.linalg.inv_ex(matrices).info != 0) | ~matrices.isfinite().all(-1).all(-1)
            if singular.any():
                sample, camera = singular.nonzero()[0].tolist()
                raise InputError(
                    f"{name}[{sample}, {camera}]={matrices[sample, camera].tolist()} must be a finite matrix that has"
                    " an inverse"
                )
        if self.intrinsics.shape[:2] != self.extrinsics.shape[:2]:
            raise InputError(
                f"intrinsics of shape {tuple(self.intrinsics.shape)} and extrinsics of shape"
                f" {tuple(self.extrinsics.shape)} must be of the same rigs and cameras"
            )

    def select(self, cameras: slice | Tensor) -> "Rig":
        """Return some of the cameras of each rig, by a slice or their numbers (m,) int64."""
        return Rig(self.intrinsics[:, cameras], self.extrinsics[:, cameras], self.image_size)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Rig":
        """Return the rigs on another device, or with another type of numbers."""
        intrinsics, extrinsics = (one.to(device=device, dtype=dtype) for one in (self.intrinsics, self.extrinsics))
        return Rig(intrinsics, extrinsics, self.image_size)


def centres(extrinsics: Tensor) -> Tensor:
    r"""Return the places (\*, 3) of cameras with the extrinsics (\*, 4, 4)."""
    return torch.linalg.inv(extrinsics)[..., :3, 3]


def in_frame(points: Tensor, extrinsics: Tensor) -> Tensor:
    r"""Return points (\*, 3) of the world in the frame of a camera with the extrinsics (4, 4)."""
    return points @ extrinsics[:3, :3].T + extrinsics[:3, 3]


def ground_points(
    size: tuple[int, int],
    metres: tuple[float, float],
    *,
    height: float = 0.0,
    ahead: float = 0.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Return the points of a bird's-eye-view grid around a vehicle: its corners are those of the area.

    .. math:: X_r = m_h \left( \tfrac12 + o - \tfrac{r}{H - 1} \right), \qquad
        Y_s = m_w \left( \tfrac12 - \tfrac{s}{W - 1} \right), \qquad Z = z_0

    so that rows go from far ahead to far behind, and columns from left to right.

    Args:
        size: rows H and columns W, at least 2 each.
        metres: length ahead and behind :math:`m_h`, and width :math:`m_w`, of the area.
        height: :math:`z_0`, the same for all points.
        ahead: o, by which share of its length the area is moved ahead.
        dtype: type of the result; None is torch's default.

    Returns:
        (3, H, W), ahead X, left Y and up Z of every cell.

    Raises:
        InputError: a side has fewer than 2 cells.
    """
    for name, side in zip(("rows", "columns"), size, strict=True):
        if side < 2:
            raise InputError(f"size={tuple(size)} must have at least 2 {name}, which are those of two borders")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    rows, columns = (torch.arange(side, dtype=dtype) / (side - 1) for side in size)
    x = metres[0] * (0.5 + ahead - rows)
    y = metres[1] * (0.5 - columns)
    x, y = torch.meshgrid(x, y, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, height)])


def project(points: Tensor, rig: Rig) -> tuple[Tensor, Tensor]:
    r"""Return where points in space appear in every camera, and whether they do.

    .. math:: q = I \, (E \, [X, Y, Z, 1]^\top)_{1 \dots 3}, \qquad
        a = \frac{q_1}{\max(q_3, 10^{-5}) \, W}, \qquad e = \frac{q_2}{\max(q_3, 10^{-5}) \, H}

    A point is visible if :math:`q_3 > 10^{-5}`, :math:`0 < a < 1` and :math:`0 < e < 1`.

    Args:
        points: (3, Q) or (3, H, W).
        rig: the cameras.

    Returns:
        (B, n, Q, 2) shares a of the width and e of the height of the image, and (B, n, Q) bool.

    Raises:
        InputError: the calibration is none, or the points have no three coordinates.
    """
    rig.check()
    if points.dim() < 2 or points.shape[0] != 3:
        raise InputError(f"points of shape {tuple(points.shape)} must be (3, Q) or (3, H, W)")
    points = points.flatten(1).to(rig.extrinsics)
    seen = rig.extrinsics[..., :3, :] @ torch.cat([points, torch.ones_like(points[:1])])
    pixels = rig.intrinsics @ seen
    depth = pixels[..., 2, :]
    height, width = rig.image_size
    places = pixels[..., :2, :] / depth.clamp(min=NEAREST_DEPTH).unsqueeze(-2) / pixels.new_tensor([[width], [height]])
    visible = (depth > NEAREST_DEPTH) & ((places > 0) & (places < 1)).all(-2)
    return places.mT, visible


@torch.no_grad()
def project_windows(points: Tensor, rig: Rig, map_size: Sequence[int], kernel_size: Sequence[int]) -> Neighbors:
    r"""Return, for each point, the windows around its image in the maps of all cameras.

    In a map of h x w positions, the window of a point at the shares a, e of the image is centred at row
    :math:`\operatorname{round}(e h)` and column :math:`\operatorname{round}(a w)`, with halves rounded to even;
    positions outside the map are replaced by the nearest inside it, so that those at the border repeat.

    The result depends on the geometry alone. For a fixed rig, keep it as a look-up table.

    Args:
        points: (3, Q) or (3, H, W).
        rig: the cameras.
        map_size: h and w.
        kernel_size: rows and columns of a window, k in all.

    Returns:
        Neighbors with indices (B, Q, n * k) into the n * h * w positions of all maps, camera by camera, and no scores.
        The windows of cameras that do not see the point are absent; their indices are those of the clamped places.

    Raises:
        InputError: the calibration or the points have another shape, or a side is less than 1.

    Reference:
        Chen et al., "Efficient and Robust 2D-to-BEV Representation Learning via Geometry-guided Kernel Transformer",
        arXiv 2206.04584.
    """
    places, visible = project(points, rig)
    for name, sides in (("map_size", map_size), ("kernel_size", kernel_size)):
        if len(sides) != 2:
            raise InputError(f"{name}={tuple(sides)} must be two numbers, of rows and columns")
        for axis, side in enumerate(sides):
            check_at_least(f"{name}[{axis}]", side, 1)
    along = []
    for share, side, k in zip((places[..., 1], places[..., 0]), map_size, kernel_size, strict=True):
        offsets = torch.arange(k, device=share.device) - k // 2
        centre = (share * side).round().clamp(-k, side + k).long()  # beyond this every window is clamped to the border
        along.append((centre.unsqueeze(-1) + offsets).clamp(0, side - 1))
    rows, columns = along
    height, width = map_size
    cameras = torch.arange(places.shape[1], device=places.device).view(-1, 1, 1) * (height * width)
    indices = cameras + (rows.unsqueeze(-1) * width + columns.unsqueeze(-2)).flatten(-2)  # (B, n, Q, k)
    absent = ~visible.unsqueeze(-1).expand_as(indices)
    return Neighbors(indices.transpose(1, 2).flatten(2), absent=absent.transpose(1, 2).flatten(2))


def rays(rig: Rig, map_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    r"""Return the point at depth 1 behind every position of the cameras' maps, and the centres of the cameras.

    .. math:: D_{rs} = E^{-1} \, [\, I^{-1} (W s / (w - 1),\, H r / (h - 1),\, 1)^\top ;\, 1 \,], \qquad t = E^{-1} e_4

    Args:
        rig: the cameras.
        map_size: h and w, at least 2 each: the corners of the map are those of the image.

    Returns:
        (B, n, h * w, 4) points, in homogeneous coordinates of the vehicle, and (B, n, 4) centres.

    Raises:
        InputError: the calibration is none, or a side of the map is less than 2.
    """
    rig.check()
    if min(map_size) < 2:
        raise InputError(f"map_size={tuple(map_size)} must be at least (2, 2), with the corners of the image")
    y, x = (
        torch.arange(n).to(rig.intrinsics) * side / (n - 1) for n, side in zip(map_size, rig.image_size, strict=True)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    directions = torch.linalg.inv(rig.intrinsics) @ pixels
    directions = torch.cat([directions, torch.ones_like(directions[..., :1, :])], dim=-2)
    to_vehicle = torch.linalg.inv(rig.extrinsics)
    return (to_vehicle @ directions).mT, to_vehicle[..., 3]


def pinhole(
    world_to_camera: Tensor, focal: Tensor | float, image_size: tuple[int, int], *, centre: Tensor | None = None
) -> Rig:
    r"""Return cameras without distortion, as one rig.

    .. math:: I = \begin{pmatrix} f_x & 0 & c_x \\ 0 & f_y & c_y \\ 0 & 0 & 1 \end{pmatrix}

    Args:
        world_to_camera: (n, 4, 4) extrinsics; the cameras look along their third axis, the second points down.
        focal: focal lengths in pixels: (n, 2) along columns and rows, (n, 1), or one number for all.
        image_size: height and width in pixels.
        centre: (n, 2) column and row of the principal point; None is the middle of the image.

    Raises:
        InputError: there is no camera, a focal length is not positive, or a matrix has another shape or no inverse.
    """
    if world_to_camera.dim() != 3 or world_to_camera.shape[0] == 0:
        raise InputError(
            f"world_to_camera of shape {tuple(world_to_camera.shape)} must be (n, 4, 4), with at least one camera"
        )
    cameras = world_to_camera.shape[0]
    lengths = torch.as_tensor(focal).to(world_to_camera).expand(cameras, 2)
    if not ((lengths > 0) & lengths.isfinite()).all():
        raise InputError(f"focal={lengths.tolist()} must have positive numbers only")
    height, width = image_size
    middle = world_to_camera.new_tensor([width / 2, height / 2]) if centre is None else centre.to(world_to_camera)
    last = world_to_camera.new_tensor([0, 0, 1]).expand(cameras, 1, 3)
    intrinsics = torch.cat([torch.diag_embed(lengths), middle.expand(cameras, 2).unsqueeze(-1)], dim=-1)
    rig = Rig(torch.cat([intrinsics, last], dim=-2).unsqueeze(0), world_to_camera.unsqueeze(0), (height, width))
    rig.check()
    return rig


def look_at(centres: Tensor, target: Tensor, up: Tensor) -> Tensor:
    r"""Return the extrinsics of cameras at given places that look at a target, with `up` at the top of the image.

    Args:
        centres: (n, 3) places of the cameras.
        target: (3,) or (n, 3) what they look at.
        up: (3,) a direction that is not that of any view.

    Returns:
        (n, 4, 4), from the world to each camera: the first axis points right, the second down, the third ahead.

    Raises:
        InputError: a camera stands at its target, or looks along `up`.
    """
    ahead = target - centres
    right = torch.linalg.cross(ahead, up.expand_as(ahead))
    if not (right.norm(dim=-1) > 1e-9 * ahead.norm(dim=-1) * up.norm()).all():
        raise InputError(f"centres={centres.tolist()} must be away from the target, and not above or below it along up")
    down = torch.linalg.cross(ahead, right)
    rotation = torch.nn.functional.normalize(torch.stack([right, down, ahead], dim=-2), dim=-1)
    pose = torch.eye(4).to(centres).repeat(centres.shape[0], 1, 1)
    pose[:, :3, :3] = rotation
    pose[:, :3, 3] = -(rotation @ centres.unsqueeze(-1)).squeeze(-1)
    return pose


def pixel_rays(rig: Rig) -> Tensor:
    r"""Return the direction of the ray through the middle of each pixel, in the frame of its camera, at depth 1.

    .. math:: d_{rs} = I^{-1} \, (s + \tfrac12,\; r + \tfrac12,\; 1)^\top

    Returns:
        (B, n, H * W, 3), row by row.

    Raises:
        InputError: the calibration is none.
    """
    rig.check()
    y, x = torch.meshgrid(*(torch.arange(side).to(rig.intrinsics) + 0.5 for side in rig.image_size), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    return (torch.linalg.inv(rig.intrinsics) @ pixels).mT
