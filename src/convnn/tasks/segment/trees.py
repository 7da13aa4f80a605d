"""What a segmentation has found of a branching tree, such as the airways of a lung: overlap, length, branches."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from convnn.errors import InputError, check_fraction
from convnn.packages import need

DETECTED = 0.8
"""Share of a branch that must be found for the branch to count."""


class TreeScores(NamedTuple):
    """Measures of one volume, or their means over several.

    Attributes:
        dice: twice the voxels that are found and true, over the sum of those found and those true.
        length: share of the centrelines, in voxels, that lies in what is found: tree length detected, or completeness.
        branches: share of the branches of which at least 80 % is found: branches detected.
        leakage: voxels found outside of the tree, over the voxels of the tree.
    """

    dice: float
    length: float
    branches: float
    leakage: float


def score_tree(found: Tensor, true: Tensor, branches: Tensor) -> TreeScores:
    """Return all measures of one volume.

    Args:
        found: (D, H, W), a voxel is found where it is not 0.
        true: (D, H, W), a voxel is of the tree where it is not 0.
        branches: (D, H, W) int64, the number of the branch, from 1, on its centreline, and 0 elsewhere, as
            `branches_of` returns.

    Raises:
        InputError: shapes differ, or there is no tree, or no branch.

    Reference:
        Lo et al., "Extraction of Airways From CT (EXACT'09)", IEEE Transactions on Medical Imaging 31 (2012); the 80 %:
        Zhang et al., "Multi-site, Multi-domain Airway Tree Modeling", arXiv 2303.05745.
    """
    return TreeScores(
        dice(found, true), length_detected(found, branches), branches_detected(found, branches), leakage(found, true)
    )


def mean_scores(scores: list[TreeScores]) -> TreeScores:
    """Return the mean of each measure over volumes.

    Raises:
        InputError: there is no volume.
    """
    if not scores:
        raise InputError("scores=[] must be those of at least one volume")
    return TreeScores(*(sum(values) / len(values) for values in zip(*scores, strict=True)))


def dice(found: Tensor, true: Tensor) -> float:
    r"""Return :math:`2 |F \cap T| / (|F| + |T|)`, from 0 to 1; 1 where both are empty.

    Raises:
        InputError: shapes differ.
    """
    both, total = _overlap(found, true)
    return 2 * both / total if total else 1.0


def leakage(found: Tensor, true: Tensor) -> float:
    r"""Return :math:`|F \setminus T| / |T|`, at least 0, which may exceed 1.

    Raises:
        InputError: shapes differ, or nothing is true.
    """
    both, total = _overlap(found, true)
    in_tree = int((true != 0).sum())
    if not in_tree:
        raise InputError("true must have at least one voxel that is not 0")
    return (total - in_tree - both) / in_tree  # of all that is found, what is not shared


def length_detected(found: Tensor, branches: Tensor) -> float:
    r"""Return the share :math:`|F \cap C| / |C|` of the centrelines C that is found, in voxels.

    Args:
        found: (D, H, W).
        branches: (D, H, W), not 0 on centrelines.

    Raises:
        InputError: shapes differ, or there is no centreline.
    """
    both, _ = _overlap(found, branches)
    return both / _lengths(branches).sum().item()


def branches_detected(found: Tensor, branches: Tensor, *, least: float = DETECTED) -> float:
    """Return the share of the branches of whose centrelines at least the share `least` is found, in voxels.

    Args:
        found: (D, H, W).
        branches: (D, H, W) int64, the number of the branch, from 1, on its centreline, and 0 elsewhere.
        least: from 0 to 1.

    Raises:
        InputError: shapes differ, there is no branch, or `least` is out of range.
    """
    check_fraction("least", least)
    _overlap(found, branches)
    lengths = _lengths(branches)
    seen = torch.bincount(branches[(found != 0) & (branches != 0)], minlength=lengths.shape[0])
    is_branch = lengths > 0
    is_seen = seen[is_branch] >= least * lengths[is_branch]
    return is_seen.double().mean().item()


def largest_part(found: Tensor) -> Tensor:
    """Return the largest connected part of what is found (D, H, W), as bool; voxels that share a corner are connected.

    What is found elsewhere is no airway, because air could not get there. Of parts of one size the first is kept.
    """
    parts, count = ndimage.label(found.cpu().numpy() != 0, np.ones((3,) * found.dim()))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    kept = parts == 1 + sizes.argmax() if count else np.zeros(parts.shape, dtype=bool)
    return torch.from_numpy(kept).to(found.device)


def branches_of(true: Tensor) -> Tensor:
    """Return the numbers of the branches of a mask (D, H, W) on its centrelines, from 1, and 0 elsewhere.

    The centrelines are the skeleton of the mask without the voxels where branches meet, which have three neighbours or
    more on it; what then hangs together is a branch.

    Args:
        true: (D, H, W), a voxel is of the tree where it is not 0.

    Raises:
        InputError: scikit-image is not installed.

    Reference:
        Lee, Kashyap and Chu, "Building skeleton models via 3-D medial surface/axis thinning algorithms", Graphical
        Models and Image Processing 56 (1994), as scikit-image has it.
    """
    morphology = need("skimage.morphology", "convnn.tasks.segment.trees.branches_of", "volumes")
    skeleton = morphology.skeletonize(true.cpu().numpy() != 0, method="lee") != 0
    around = np.ones((3,) * true.dim(), dtype=int)
    others = ndimage.convolve(skeleton.astype(int), around, mode="constant") - 1
    parts, _ = ndimage.label(skeleton & (others < 3), around)
    return torch.from_numpy(parts.astype(np.int64)).to(true.device)


def _overlap(found: Tensor, true: Tensor) -> tuple[int, int]:
    """Return how many voxels two masks share, and how many both have."""
    if found.shape != true.shape:
        raise InputError(f"found of shape {tuple(found.shape)} must have the shape {tuple(true.shape)} of the truth")
    return int(((found != 0) & (true != 0)).sum()), int((found != 0).sum() + (true != 0).sum())


def _lengths(branches: Tensor) -> Tensor:
    """Return the voxels of each branch by its number; that of 0 is none."""
    if branches.dtype != torch.long or not (branches > 0).any() or (branches < 0).any():
        raise InputError(f"branches of {branches.dtype} must be int64, with 0 off the centrelines and a branch from 1")
    lengths = torch.bincount(branches.flatten())
    lengths[0] = 0
    return lengths
