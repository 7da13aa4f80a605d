"""What a model of Gaussians shows to one camera, beside its photograph."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data.surfaces.mesh import Mesh
from convnn.errors import InputError
from convnn.models.splats.losses import to_world
from convnn.models.splats.rendering import render
from convnn.ops.photographs import Photographs
from convnn.ops.projection import Rig, in_frame
from convnn.tasks.surface.picture import AMBIENT, CLAY
from convnn.viz.figure import own_style, save_figure, write_title


@own_style()
@torch.no_grad()
def draw_splats(model: nn.Module, scene: Photographs, path: Path | str, *, camera: int = 0, mesh: Mesh) -> Path:
    """Draw a photograph, the rendering, its depths and normals, and a mesh as the same camera sees it.

    Args:
        model: `AnchorGaussians` or `FreeGaussians`.
        scene: photographs.
        path: the picture, .png, .pdf or .svg.
        camera: number of the photograph.
        mesh: of the model's field.

    Returns:
        The path.

    Raises:
        InputError: there is no such camera.
        OutputError: the file cannot be written.
    """
    if not 0 <= camera < len(scene.images):
        raise InputError(f"camera={camera} must be one of the {len(scene.images)}, from 0")
    one = scene.camera(camera)
    seen = render(model, one.rig, scene.background)
    height, width = one.rig.image_size
    figure = Figure(figsize=(10, 1.92 * height / width + 0.3), layout="constrained")
    panels = figure.subplots(1, 5)
    titles = ("photograph", "rendering", "depth", "normals", "mesh of the field")
    for panel, title in zip(panels, titles, strict=True):
        panel.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
        write_title(panel, title)
    extent = (0, width, height, 0)
    faces = (1 + to_world(F.normalize(seen.normals, dim=1), one.rig)) / 2
    covered = (seen.opacities > 0.5).unsqueeze(1)
    for panel, image in zip(panels[[0, 1, 3]], (one.images, seen.colors, faces * covered), strict=True):
        panel.imshow(image[0].movedim(0, -1).clamp(0, 1).numpy(), extent=extent)
    depths = seen.depths[0].masked_fill(~covered[0, 0], torch.nan)
    panels[2].imshow(depths.numpy(), cmap="viridis_r", extent=extent)
    _draw_mesh(panels[4], mesh, one.rig)
    return save_figure(figure, path)


def _draw_mesh(panel: Axes, mesh: Mesh, rig: Rig) -> None:
    """Draw the triangles that face a camera, in its pixels, far ones first, lit from where it stands."""
    pose, lens = rig.extrinsics[0, 0].to(mesh.vertices), rig.intrinsics[0, 0].to(mesh.vertices)
    corners = in_frame(mesh.corners, pose)
    normals = F.normalize(mesh.face_vectors @ pose[:3, :3].T)
    facing = -(normals * F.normalize(corners.mean(1))).sum(1)
    order = corners[..., 2].mean(1).argsort(descending=True)
    order = order[facing[order] > 0]
    pixels = corners[order] @ lens.T
    light: Tensor = AMBIENT + (1 - AMBIENT) * facing[order].unsqueeze(1)
    colors = (light * light.new_tensor(to_rgb(CLAY)) * 1.15).clamp(0, 1)
    triangles = PolyCollection(list((pixels[..., :2] / pixels[..., 2:]).numpy()), facecolors=colors.numpy())
    triangles.set(edgecolors="face", linewidths=0.3, rasterized=True)
    panel.add_collection(triangles)
