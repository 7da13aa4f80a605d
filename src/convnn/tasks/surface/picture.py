"""Surfaces as shaded pictures, without a window or a graphics card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from convnn.data.surfaces.mesh import Mesh
from convnn.errors import InputError
from convnn.ops.cloud import Cloud
from convnn.viz.figure import COLORS, FAINT, INK, own_style, save_figure, write_title

LIGHT = (-0.4, 0.5, 0.77)
"""Direction of the light in the picture: right, up, towards the eye."""
AMBIENT = 0.35
"""Share of the light that comes from everywhere."""
FADED = 0.85
"""How white points are whose normals face away."""
SLIVER = 0.02
"""Area of a triangle, as a share of the mean, below which its direction is that of its neighbours."""
CLAY = "#b9c9d6"


@dataclass(frozen=True)
class View:
    """A panel of a picture.

    Attributes:
        what: a mesh, or points, which are shaded if they have normals.
        title: what stands above.
        values: (V,) of the vertices or (N,) of the points, which colour them from 0 to the largest; None is clay.
        unit: what the values are, for the scale of colours.
    """

    what: Mesh | Cloud
    title: str
    values: Tensor | None = None
    unit: str = ""

    @property
    def points(self) -> Tensor:
        """The vertices of the mesh, or the points."""
        return self.what.vertices if isinstance(self.what, Mesh) else self.what.points


@own_style()
def draw_surfaces(views: Sequence[View], path: Path | str, *, azimuth: float = 35.0, elevation: float = 25.0) -> Path:
    """Draw meshes and points side by side, from one direction and at one scale, with parallel rays.

    Args:
        views: the panels.
        path: the picture, .png, .pdf or .svg.
        azimuth, elevation: degrees by which the eye is turned around the z axis, and raised.

    Returns:
        The path.

    Raises:
        InputError: there are no views, or values of another number than points.
        OutputError: the file cannot be written.
    """
    if not views:
        raise InputError("views=() must have at least one panel")
    turn = turned(azimuth, elevation)
    ends = torch.cat([(view.points.double() @ turn.T)[:, :2] for view in views])
    lower, upper = ends.amin(0).tolist(), ends.amax(0).tolist()
    wide, high = (max(b - a, 1e-9) for a, b in zip(lower, upper, strict=True))
    foot = 0.55 if any(view.values is not None for view in views) else 0.0
    height = min(3.4 * high / wide, 5.0)
    figure = Figure(figsize=(3.4 * len(views), height + foot + 0.4))
    figure.subplots_adjust(0.01, foot / (height + foot + 0.4), 0.99, 1 - 0.4 / (height + foot + 0.4), wspace=0.04)
    for panel, view in zip(figure.subplots(1, len(views), squeeze=False)[0], views, strict=True):
        _draw(panel, view, turn)
        edge = 0.03 * max(wide, high)
        panel.set(xlim=(lower[0] - edge, upper[0] + edge), ylim=(lower[1] - edge, upper[1] + edge), aspect="equal")
        panel.set_axis_off()
        write_title(panel, view.title)
        if view.values is not None:
            _write_scale(panel, view, float(view.values.max()), height)
    return save_figure(figure, path)


def turned(azimuth: float, elevation: float) -> Tensor:
    """Return the rotation (3, 3) whose rows are right, up and towards the eye."""
    turn, rise = np.deg2rad((azimuth, elevation))
    eye = [np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)]
    right = [-np.sin(turn), np.cos(turn), 0.0]
    return torch.from_numpy(np.stack([right, np.cross(eye, right), eye]))


def _draw(panel: Axes, view: View, turn: Tensor) -> None:
    """Draw what is far first, so that what is near covers it."""
    seen = view.points.detach().double() @ turn.T
    colors = _colors(view)
    if isinstance(view.what, Mesh):
        faces = view.what.faces
        shaded = colors[faces].mean(1) * _shade(_face_normals(view.what), turn)
        order = seen[faces][..., 2].mean(1).argsort()
        polygons = PolyCollection(list(seen[faces][order, :, :2].numpy()), facecolors=shaded[order].clamp(0, 1).numpy())
        polygons.set(edgecolors="face", linewidths=0.3, rasterized=True)  # no gaps between triangles
        panel.add_collection(polygons)
        return
    if view.what.normals is not None:
        is_behind = (view.what.normals.double() @ turn[2] < 0).unsqueeze(1)
        colors = torch.where(is_behind, FADED + (1 - FADED) * colors, colors * _shade(view.what.normals, turn))
    order = seen[:, 2].argsort()
    x, y, _ = seen[order].numpy().T
    size = float(np.clip(9000 / len(seen), 0.6, 20))
    panel.scatter(x, y, s=size, c=colors[order].clamp(0, 1).numpy(), linewidths=0, rasterized=True)


def _colors(view: View) -> Tensor:
    """Return the colours (N, 3) of vertices or points before shading."""
    count = len(view.points)
    if view.values is None:
        color = CLAY if isinstance(view.what, Mesh) else COLORS[0]
        return torch.tensor([to_rgb(color)], dtype=torch.double).expand(count, 3)
    if view.values.shape != (count,):
        raise InputError(f"values of shape {tuple(view.values.shape)} must be ({count},), one for each point")
    share = view.values.detach().double() / max(float(view.values.max()), 1e-300)
    return torch.from_numpy(colormaps["viridis"](share.numpy())[:, :3])


def _face_normals(mesh: Mesh) -> Tensor:
    """Return the directions (F, 3) of triangles; slivers have none of their own, and take those of their corners."""
    around = mesh.vertex_normals[mesh.faces].mean(1)
    is_sliver = mesh.areas < SLIVER * mesh.areas.mean()
    return torch.where(is_sliver.unsqueeze(1), around, mesh.face_vectors)


def _shade(normals: Tensor, turn: Tensor) -> Tensor:
    """Return the share (N, 1) of light that is seen. A mesh may be open: its back is lit as its front."""
    facing = torch.nn.functional.normalize(normals.detach().double()) @ turn.T
    facing = torch.where(facing[:, 2:] < 0, -facing, facing)
    light = torch.nn.functional.normalize(facing.new_tensor([LIGHT])).squeeze(0)
    return AMBIENT + (1 - AMBIENT) * (facing @ light).clamp(min=0).unsqueeze(1) * 1.15


def _write_scale(panel: Axes, view: View, largest: float, height: float) -> None:
    """Write the scale of colours below a panel, whose height is given in inches."""
    below = panel.inset_axes((0.15, -0.12 / height, 0.7, 0.08 / height))
    scale = panel.figure.colorbar(
        ScalarMappable(Normalize(0, largest), colormaps["viridis"]), cax=below, orientation="horizontal"
    )
    scale.set_label(view.unit, fontsize=8, color=INK)
    scale.outline.set_edgecolor(FAINT)
    scale.ax.tick_params(labelsize=8, labelcolor=INK, length=0)
