"""How far generated scene graphs are from real ones, and whether their relations say what their boxes show."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.errors import InputError, check_positive
from convnn.ops.scene_graphs import SceneGraphs, pairs_apart, spatial_relations


def share_right(graphs: SceneGraphs, rule: Callable[[Tensor, Tensor], Tensor] = spatial_relations) -> float:
    """Return the share of all ordered pairs of two objects whose relation, or none, is the one that follows from boxes.

    Args:
        graphs: scene graphs whose predicates are those of the rule.
        rule: function of boxes (B, N, 4) and flags (B, N) to relations (B, N, N).

    Raises:
        InputError: no graph has two objects.
    """
    pairs = pairs_apart(graphs.flags)
    if not pairs.any():
        raise InputError("graphs have no pair of objects; give some with two or more")
    return (rule(graphs.boxes, graphs.flags) == graphs.relations)[pairs].double().mean().item()


def maximum_mean_discrepancy(first: Tensor, second: Tensor, width: float | None = None) -> float:
    r"""Return the squared distance of the means of two samples in the space of a Gaussian kernel, at least 0.

    .. math:: \overline{k(x, x')} + \overline{k(y, y')} - 2\, \overline{k(x, y)}, \qquad
        k(x, y) = \exp \left( -\frac{\|x - y\|^2}{2 \sigma^2} \right)

    with means over all pairs, a sample with itself included.

    Args:
        first, second: (n, C) and (m, C).
        width: :math:`\sigma`; None is the median distance between different points of both, or 1 if all agree.

    Raises:
        InputError: shapes do not fit, a sample is empty, or the width is not positive.

    Reference:
        Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012, equation 5.
    """
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1] or not len(first) or not len(second):
        raise InputError(f"samples of shapes {tuple(first.shape)} and {tuple(second.shape)} must be (n, C) and (m, C)")
    both = torch.cat([first, second]).double()
    squared = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
    if width is None:
        apart = squared[squared > 0]
        width = apart.median().sqrt().item() if len(apart) else 1.0
    check_positive("width", width)
    kernel, n = (-squared / (2 * width**2)).exp(), len(first)
    return (kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()).clamp_min(0).item()


def compare(
    graphs: SceneGraphs, real: SceneGraphs, rule: Callable[[Tensor, Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Return distances between the statistics of generated scene graphs and of real ones, of which 0 is the best.

    Args:
        graphs: the generated graphs.
        real: graphs to compare them with, such as those of a test.
        rule: how relations follow from boxes, if they do, see `share_right`.

    Returns:
        - "degrees": `maximum_mean_discrepancy` of the shares of objects with 0, 1, ... relations, graph by graph
        - "boxes": the same of all boxes
        - "categories", "relations": half of the summed differences of their shares, from 0 to 1
        - "triples": the same of category, relation and category together
        - "right": `share_right`, with a rule; 1 is the best

    Raises:
        InputError: the graphs have other names or another size.
    """
    if (graphs.categories, graphs.predicates) != (real.categories, real.predicates):
        raise InputError("graphs and real must have the same categories and predicates")
    if graphs.flags.shape[1] != real.flags.shape[1]:
        raise InputError(f"graphs of {graphs.flags.shape[1]} objects must have {real.flags.shape[1]}, as real")
    ours, theirs = pairs_apart(graphs.flags), pairs_apart(real.flags)
    found = {
        "degrees": maximum_mean_discrepancy(degree_shares(graphs), degree_shares(real)),
        "boxes": maximum_mean_discrepancy(graphs.boxes[graphs.flags], real.boxes[real.flags]),
        "categories": _variation(graphs.types[graphs.flags], real.types[real.flags]),
        "relations": _variation(graphs.relations[ours], real.relations[theirs]),
        "triples": _variation(_triples(graphs)[ours], _triples(real)[theirs]),
    }
    return found | ({} if rule is None else {"right": share_right(graphs, rule)})


def degree_shares(graphs: SceneGraphs) -> Tensor:
    """Return the share of the objects of each graph that have 0, 1, ..., 2 N - 2 relations, in or out: (B, 2 N - 1)."""
    edges = (graphs.relations > 0) & pairs_apart(graphs.flags)
    degrees = edges.sum(1) + edges.sum(2)
    counts = (degrees.unsqueeze(2) == torch.arange(2 * degrees.shape[1] - 1, device=degrees.device)).double()
    return (counts * graphs.flags.unsqueeze(2)).sum(1) / graphs.sizes.clamp_min(1).unsqueeze(1)


def _triples(graphs: SceneGraphs) -> Tensor:
    """Return a number for category, relation and category of every pair of objects, (B, N, N)."""
    kinds, predicates = len(graphs.categories), len(graphs.predicates)
    return (graphs.types.unsqueeze(2) * predicates + graphs.relations) * kinds + graphs.types.unsqueeze(1)


def _variation(first: Tensor, second: Tensor) -> float:
    """Return the distance in total variation of whole numbers."""
    if not first.numel() or not second.numel():
        return float(first.numel() != second.numel())
    count = int(max(first.max(), second.max())) + 1
    shares = [one.bincount(minlength=count).double() / one.numel() for one in (first, second)]
    return (shares[0] - shares[1]).abs().sum().item() / 2
