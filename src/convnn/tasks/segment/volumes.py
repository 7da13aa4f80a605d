"""Masks of volumes of any size, from a trained network, in files, and slices of volumes with masks over them."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.volumes import MASK, read_volume, standardised, write_mask
from convnn.errors import InputError
from convnn.models import Network
from convnn.models.segmentation import UNet3d
from convnn.nn._modes import evaluating
from convnn.tasks.segment.masks import OVER
from convnn.tasks.segment.picture import draw_masks
from convnn.train import Recipe

AXES = ("D", "H", "W")

DARKEST, BRIGHTEST = 0.005, 0.995
"""Quantiles of the values of a volume that are drawn black and white."""


def volume_files(path: str | Path) -> list[str]:
    """Return the names of the files that `segment_volume` writes: the mask in the form of the volume, and a picture."""
    path = Path(path)
    return [f"{path.stem}{MASK}{path.suffix}", f"{path.stem}{OVER}"]


def segment_volume(network: Network, recipe: Recipe, path: str | Path, folder: Path) -> Tensor:
    """Write the mask of a volume into a folder, and slices of it with the mask over them; return the mask (D, H, W).

    Raises:
        InputError: as `volume_mask`.
        OutputError: a file cannot be written.
    """
    mask, over = (folder / name for name in volume_files(path))
    volume, found = volume_mask(network, recipe, path)
    write_mask(found, mask)
    draw_slices(volume, found, recipe.classes, over)
    return found


def volume_mask(network: Network, recipe: Recipe, path: str | Path) -> tuple[Tensor, Tensor]:
    """Return a volume, and the class of each of its voxels.

    Values are brought to mean 0 and standard deviation 1 where those of training were. Sides that the network cannot
    halve are continued with their last values, for which there is no mask.

    Args:
        network: network of the recipe.
        recipe: how volumes are read.
        path: file of the volume, as `convnn.data.volumes.read_volume` reads it.

    Returns:
        Volume (D, H, W) with the values of the file, and classes (D, H, W) uint8.

    Raises:
        InputError: the file is missing or broken, or has values that are not finite.
    """
    volume = read_volume(path).volume
    if not volume.isfinite().all():
        raise InputError(f"the volume {path} has values that are not finite")
    inputs = standardised(volume) if recipe.dataset == "volumes" else volume.float()
    with torch.no_grad(), evaluating(network):
        logits = network(_continued(inputs, network).to(next(network.parameters()).device)).cpu()
    depth, height, width = volume.shape[1:]
    return volume[0], logits[0, :, :depth, :height, :width].argmax(0).to(torch.uint8)


def _continued(volume: Tensor, network: Network) -> Tensor:
    """Return a volume (1, 1, D', H', W') whose sides the network reads, from (1, D, H, W)."""
    multiple = network.multiple if isinstance(network, UNet3d) else 1
    ends = [pad for side in reversed(volume.shape[1:]) for pad in (0, -side % multiple)]
    return F.pad(volume[None], ends, mode="replicate")


def draw_slices(volume: Tensor, mask: Tensor, names: tuple[str, ...], path: Path) -> Path:
    """Draw a slice along each axis, where most is found, and the whole along the second, with the mask below each.

    The whole is the mean of the volume, and of the mask the class that is met first, of those after the first class.

    Args:
        volume: values (D, H, W).
        mask: classes (D, H, W).
        names: names of the classes.
        path: the picture.

    Raises:
        OutputError: the file cannot be written.
    """
    shown, titles = [], []
    for axis, side in enumerate(mask.shape):
        counts = (mask != 0).movedim(axis, 0).flatten(1).sum(1)
        at = int(counts.argmax()) if counts.any() else side // 2
        shown.append((volume.select(axis, at), mask.select(axis, at)))
        titles.append(f"{AXES[axis]} = {at}")
    first = (mask != 0).byte().argmax(1, keepdim=True)
    shown.append((volume.mean(1), mask.gather(1, first).squeeze(1)))
    images = [_shades(image)[None] for image, _ in shown]
    return draw_masks(images, {"found": [cover for _, cover in shown]}, names, path, titles=[*titles, "all along H"])


def _shades(image: Tensor) -> Tensor:
    """Return an image with values from 0 to 1, of which few are cut off."""
    dark, bright = image.double().flatten().quantile(torch.tensor([DARKEST, BRIGHTEST], dtype=torch.double))
    return ((image - dark) / (bright - dark).clamp(min=1e-9)).clamp(0, 1).float()
