"""How far predicted boxes overlap those that are wanted."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_choice
from convnn.ops.boxes import corners, overlap

OVERLAPS = ("iou", "giou", "diou", "ciou")


def iou_regulariser(
    predicted: Tensor, clean: Tensor, flags: Tensor, kind: str = "iou", *, over: str = "graph"
) -> Tensor:
    r"""Return for each graph the mean over its nodes of what their boxes lack in overlap, (B,).

    .. math:: L_b = -\frac{1}{n_b} \sum_{i \le n_b} \operatorname{IoU}(\hat x_{bi}, x_{bi})^2

    or the mean of the generalised, distance or complete loss of torchvision. Boxes are centre, width and height from
    -1 to 1, which stand for 0 to 1, and are cut at the borders. A predicted width below 0 swaps its sides.

    Args:
        predicted: (B, N, 4) boxes.
        clean: (B, N, 4) those that are wanted.
        flags: (B, N) bool, which nodes there are.
        kind: "iou", "giou", "diou" or "ciou".
        over: the nodes by whose number a graph's sum is divided, those of the "graph" or of the "batch".

    Raises:
        InputError: an argument is not one of these, or shapes do not fit.

    Reference:
        Xu et al., arXiv 2401.01130; Rezatofighi et al., "Generalized Intersection over Union", arXiv 1902.09630; Zheng
        et al., "Distance-IoU Loss", arXiv 1911.08287.
    """
    check_choice("iou", kind, OVERLAPS)
    check_choice("over", over, ("graph", "batch"))
    if predicted.dim() != 3 or predicted.shape[2] != 4 or clean.shape != predicted.shape:
        raise InputError(
            f"predicted of shape {tuple(predicted.shape)} and clean of shape {tuple(clean.shape)} must both be"
            " (B, N, 4)"
        )
    if flags.shape != predicted.shape[:2] or flags.dtype != torch.bool:
        raise InputError(f"flags of shape {tuple(flags.shape)} must be {tuple(predicted.shape[:2])} and bool")
    lacks = _lacks(kind, *(corners((boxes + 1) / 2).clamp(0, 1)[flags] for boxes in (predicted, clean)))
    sums = torch.zeros(flags.shape, dtype=lacks.dtype, device=lacks.device).masked_scatter(flags, lacks).sum(1)
    count = flags.sum(1) if over == "graph" else flags.sum()
    return sums / count.clamp_min(1)


def _lacks(kind: str, predicted: Tensor, clean: Tensor) -> Tensor:
    if kind == "iou":
        return -overlap(predicted, clean).square()
    from torchvision import ops  # takes a second to import

    losses = {
        "giou": ops.generalized_box_iou_loss,
        "diou": ops.distance_box_iou_loss,
        "ciou": ops.complete_box_iou_loss,
    }
    return losses[kind](predicted, clean)
