"""How near a surface that was found is to the true one."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from convnn.errors import InputError, check_positive
from convnn.ops.cloud import Cloud


class SurfaceMeasures(NamedTuple):
    """Measures of a surface by points of it and of the true one.

    Attributes:
        accuracy: mean distance of the found points from the true ones.
        completeness: mean distance of the true points from the found ones.
        chamfer: the mean of both.
        precision: share of the found points that are within the threshold of a true one.
        recall: share of the true points that are within the threshold of a found one.
        f_score: the harmonic mean of both; 0 if both are.
        normal_consistency: mean absolute cosine of the normals of nearest points, both ways; NaN without normals.
    """

    accuracy: float
    completeness: float
    chamfer: float
    precision: float
    recall: float
    f_score: float
    normal_consistency: float


def measure_surface(found: Cloud, true: Cloud, threshold: float) -> SurfaceMeasures:
    r"""Compare points drawn from a found surface with points drawn from the true one.

    With :math:`d(x, Q) = \min_{q \in Q} |x - q|`, the chamfer distance is half of
    :math:`\operatorname{mean}_{p} d(p, Q) + \operatorname{mean}_{q} d(q, P)`: lengths, not squares.

    Args:
        found: points P of the found surface, such as `Mesh.sample` draws.
        true: points Q of the true one.
        threshold: distance up to which a point counts as right, positive.

    Raises:
        InputError: the threshold is not positive.

    Reference:
        Mescheder et al., "Occupancy Networks", 2019 (chamfer distance, normal consistency); Tatarchenko et al., "What
        Do Single-view 3D Reconstruction Networks Learn?", 2019 (F-score).
    """
    check_positive("threshold", threshold)
    to_true, cosines = nearest(found, true)
    to_found, others = nearest(true, found)
    accuracy, completeness = to_true.mean().item(), to_found.mean().item()
    precision, recall = ((lengths <= threshold).double().mean().item() for lengths in (to_true, to_found))
    both = precision + recall
    consistency = (cosines.mean().item() + others.mean().item()) / 2
    return SurfaceMeasures(
        accuracy,
        completeness,
        (accuracy + completeness) / 2,
        precision,
        recall,
        2 * precision * recall / both if both else 0.0,
        consistency,
    )


def nearest(points: Cloud, others: Cloud) -> tuple[Tensor, Tensor]:
    """Return the distances (N,) to the nearest of the others, and the absolute cosines of the normals there, or NaN."""
    from scipy.spatial import cKDTree

    lengths, index = cKDTree(_array(others.points)).query(_array(points.points))
    if points.normals is None or others.normals is None:
        cosines = points.points.new_full((len(points),), torch.nan)
    else:
        near = others.normals[torch.from_numpy(index)]
        cosines = torch.cosine_similarity(points.normals, near.to(points.normals), dim=1).abs()
    return torch.from_numpy(np.asarray(lengths)), cosines


def _array(points: Tensor) -> np.ndarray:
    if not points.isfinite().all():
        raise InputError("points must be finite")
    return points.detach().double().cpu().numpy()
