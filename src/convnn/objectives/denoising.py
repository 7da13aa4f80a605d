"""Learning to remove noise of any level: preconditioning and weights of EDM, and the loss of scene graphs."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_not_negative, check_positive
from convnn.objectives.boxes import iou_regulariser
from convnn.ops.dense_graphs import DenseGraphs, check_graphs

BOX = 4
"""The last channels of a node: the centre, the width and the height of its box."""


class Scaling(NamedTuple):
    """The factors of `edm_scaling`, each of the shape of the noise levels."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def edm_scaling(sigma: Tensor, sigma_data: float = 0.5) -> Scaling:
    r"""Return the factors that keep input and target of a network of one size at every level of noise s.

    .. math:: D(x, s) = c_{skip}\, x + c_{out}\, F(c_{in}\, x, c_{noise})

    with :math:`q = s^2 + d^2`, :math:`c_{skip} = d^2 / q`, :math:`c_{out} = s d / \sqrt q`, :math:`c_{in} = 1 / \sqrt
    q` and :math:`c_{noise} = \ln(s) / 4`.

    Args:
        sigma: levels of noise s, above 0.
        sigma_data: standard deviation of the data, d.

    Raises:
        InputError: a level is not positive.

    Reference:
        Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364, table 1.
    """
    _check_levels(sigma)
    check_positive("sigma_data", sigma_data)
    total = sigma.square() + sigma_data**2
    return Scaling(sigma_data**2 / total, sigma * sigma_data * total.rsqrt(), total.rsqrt(), sigma.log() / 4)


def edm_weight(sigma: Tensor, sigma_data: float = 0.5) -> Tensor:
    r"""Return :math:`(s^2 + d^2) / (s d)^2`, by which squared errors of all levels s count equally at first.

    Raises:
        InputError: a level is not positive.

    Reference:
        arXiv 2206.00364, table 1.
    """
    _check_levels(sigma)
    check_positive("sigma_data", sigma_data)
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def draw_noise_levels(
    like: Tensor, *, mean: float = -1.2, std: float = 1.2, generator: torch.Generator | None = None
) -> Tensor:
    """Return a level of noise for each sample of a batch, (B,), whose logarithm is normally distributed.

    Args:
        like: (B, ...), of whose data type and device the levels are.
        mean: mean of the logarithm.
        std: its standard deviation.
        generator: source of the random numbers; None is that of torch.

    Reference:
        arXiv 2206.00364, table 1.
    """
    drawn = torch.randn(like.shape[0], generator=generator, device=like.device, dtype=like.dtype)
    return (mean + std * drawn).exp()


def noise_like(graphs: DenseGraphs, flags: Tensor, generator: torch.Generator | None = None) -> DenseGraphs:
    """Return standard normal numbers for all that is there of some graphs, and 0 elsewhere.

    The noise of an edge and that of the edge back are drawn apart.
    """
    drawn = (torch.randn(part.shape, generator=generator, device=part.device, dtype=part.dtype) for part in graphs)
    return DenseGraphs(*drawn).masked(flags)


class SceneGraphLoss(NamedTuple):
    """The loss of a batch of scene graphs and its parts.

    Attributes:
        total: what is minimised, a number.
        relations: (B,) weighted squared error of the edges.
        nodes: (B,) weighted squared error of the nodes.
        boxes: (B,) `iou_regulariser`, without its weight.
        weight: (B,) by which the total has it, or 0 without the term.
    """

    total: Tensor
    relations: Tensor
    nodes: Tensor
    boxes: Tensor
    weight: Tensor


def scene_graph_loss(
    denoised: DenseGraphs,
    clean: DenseGraphs,
    flags: Tensor,
    sigma: Tensor,
    *,
    iou: str = "iou",
    iou_weight: float = 1.0,
    iou_power: float = 0.5,
    over: str = "graph",
    sigma_data: float = 0.5,
) -> SceneGraphLoss:
    r"""Return the weighted squared errors of nodes and edges, and what the boxes lack in overlap.

    .. math:: \frac 1 B \sum_b w_b \left( \frac{\|D_A - A\|^2}{n_b^2 E} + \frac{\|D_X - X\|^2}{n_b C} \right) +
        \lambda w_b^p L_b

    for graph b with :math:`n_b` nodes, its weight :math:`w_b` of `edm_weight` and the regulariser :math:`L_b` of
    `iou_regulariser`. The weight is the inverse square of :math:`c_{out}`, which makes the gradients of squared errors
    with respect to the network as large at every level s of noise. Overlap falls with the error itself, not with its
    square, so that p = 1/2 does the same for it; with p = 1, as published, its gradient grows as 1 / s.

    Args:
        denoised: :math:`D_A` (B, E, N, N) and :math:`D_X` (B, N, C).
        clean: A and X, 0 outside of the flags; the last four channels of a node are its box, from -1 to 1.
        flags: (B, N) bool, which nodes there are; every graph has some.
        sigma: (B,) levels of noise, above 0.
        iou: the regulariser: "iou", "giou", "diou" or "ciou"; "none" leaves it out.
        iou_weight: its factor :math:`\lambda`, at least 0.
        iou_power: p, at least 0; 1 is published.
        over: the nodes by whose number it is divided: those of its "graph", or, as published, of the whole "batch", so
            that it counts less the more graphs there are.
        sigma_data: standard deviation of the data.

    Raises:
        InputError: an argument is out of range, shapes do not fit, or a graph has no node.

    Reference:
        Xu et al., "Joint Generative Modeling of Scene Graphs and Images via Diffusion Models", arXiv 2401.01130, in
        the form of its code, DiffuseSG.
    """
    check_not_negative("iou_power", iou_power)
    _check_batch(denoised, clean, flags, sigma, iou_weight)
    graphs, there = denoised.masked(flags), clean.masked(flags)
    number, weight = flags.sum(1), edm_weight(sigma, sigma_data)
    edges, channels = clean.adjacency.shape[1], clean.nodes.shape[2]
    relations = weight * (graphs.adjacency - there.adjacency).square().sum((1, 2, 3)) / (number.square() * edges)
    nodes = weight * (graphs.nodes - there.nodes).square().sum((1, 2)) / (number * channels)
    boxes, of_boxes = torch.zeros_like(nodes), torch.zeros_like(weight)
    if iou != "none":
        of_boxes = iou_weight * weight**iou_power
        boxes = iou_regulariser(graphs.nodes[..., -BOX:], there.nodes[..., -BOX:], flags, iou, over=over)
    total = (relations + nodes + of_boxes * boxes).mean()
    return SceneGraphLoss(total, relations, nodes, boxes, of_boxes)


def _check_batch(denoised: DenseGraphs, clean: DenseGraphs, flags: Tensor, sigma: Tensor, iou_weight: float) -> None:
    check_graphs(clean, flags)
    check_not_negative("iou_weight", iou_weight)
    for name, ours, theirs in zip(DenseGraphs._fields, denoised, clean, strict=True):
        if ours.shape != theirs.shape:
            raise InputError(f"denoised {name} of shape {tuple(ours.shape)} must be {tuple(theirs.shape)}, as clean")
    if clean.nodes.shape[2] < BOX:
        raise InputError(f"nodes of shape {tuple(clean.nodes.shape)} must end in the {BOX} channels of a box")
    if sigma.shape != flags.shape[:1]:
        raise InputError(f"sigma of shape {tuple(sigma.shape)} must be ({flags.shape[0]},), a level for each graph")
    if not flags.any(1).all():
        raise InputError(f"flags[{int((~flags.any(1)).nonzero()[0])}] has no node; leave that graph out")


def _check_levels(sigma: Tensor) -> None:
    if not (sigma > 0).all():
        raise InputError(f"sigma={sigma[~(sigma > 0)].flatten()[0].item()} must be above 0")
