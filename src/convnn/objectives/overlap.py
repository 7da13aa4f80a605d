"""The loss of overlap, for classes of which there is little."""

from torch import Tensor

from convnn.errors import InputError, check_not_negative


def dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    r"""Return one minus the soft Dice coefficient, the mean over the batch and the maps.

    .. math:: 1 - \frac{2 \sum_i p_i t_i + \epsilon}{\sum_i p_i + \sum_i t_i + \epsilon}

    with the probabilities p, the sigmoid of the logits. The sums run over the positions of a map. Unlike cross-entropy
    it does not change with the number of positions that are rightly left out.

    Args:
        logits: (B, C, \*S), a map for each foreground class.
        target: (B, C, \*S) between 0 and 1, or (B, \*S) where C is 1.
        smooth: epsilon, at least 0; with 0, an empty target has the loss 1.

    Returns:
        A scalar from 0 to 1.

    Raises:
        InputError: shapes do not agree, or epsilon is negative.

    Reference:
        Milletari, Navab and Ahmadi, "V-Net", arXiv 1606.04797, with sums instead of sums of squares.
    """
    check_not_negative("smooth", smooth)
    if logits.dim() < 3:
        raise InputError(f"logits of shape {tuple(logits.shape)} must be (B, C, *S)")
    wanted = target.unsqueeze(1) if target.dim() == logits.dim() - 1 else target
    if wanted.shape != logits.shape:
        raise InputError(f"target of shape {tuple(target.shape)} must be {tuple(logits.shape)}, as the logits")
    shares, wanted = logits.sigmoid().flatten(2), wanted.to(logits.dtype).flatten(2)
    both, total = (shares * wanted).sum(2), shares.sum(2) + wanted.sum(2)
    return (1 - (2 * both + smooth) / (total + smooth)).mean()
