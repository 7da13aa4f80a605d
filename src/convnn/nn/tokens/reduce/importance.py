"""How important tokens are, by the attention that they receive."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_choice


class Received(NamedTuple):
    """The attention that patches receive in each head.

    Attributes:
        of_class: K_t, from the first token, (B, H, n).
        of_all: I_t, the sum over all tokens, (B, H, n).
        of_itself: D_t, (B, H, n).
    """

    of_class: Tensor
    of_all: Tensor
    of_itself: Tensor


OVER_HEADS: dict[str, Callable[[Tensor], Tensor]] = {"max": lambda one: one.amax(1), "mean": lambda one: one.mean(1)}
OF_RECEIVED: dict[str, Callable[[Received, Callable[[Tensor], Tensor]], Tensor]] = {
    "mixed": lambda found, over: over(found.of_itself) * over(found.of_all),
    "sum": lambda found, over: over(found.of_itself) + over(found.of_all),
    "class": lambda found, over: over(found.of_class),
    "image": lambda found, over: over(found.of_all),
    "diagonal": lambda found, over: over(found.of_itself),
}
TOKEN_SCORES = (*OF_RECEIVED, "cosine", "random")


def importance(attention: Tensor, first: int, score: str = "mixed", over_heads: str = "max") -> Tensor:
    r"""Return the score of each patch by the attention A of all tokens, in float32 or better, without a gradient.

    With :math:`D_t = A_{tt}`, :math:`I_t = \sum_i A_{it}` over all tokens, and :math:`K_t = A_{0t}`, each the maximum
    or mean over the heads:

    .. math:: D_t I_t \text{ (mixed)},\quad D_t + I_t \text{ (sum)},\quad K_t \text{ (class)},\quad I_t
        \text{ (image)},\quad D_t \text{ (diagonal)},\quad -\sum_u \cos(A_t, A_u) \text{ (cosine)}

    "cosine" compares the rows of the patches, after the maximum or mean over the heads; "random" draws from a normal
    distribution.

    Args:
        attention: (B, H, T, T); row i has the weights with which token i attends.
        first: number of tokens before the patches, which have no score.
        score: one of the above.
        over_heads: "max" or "mean".

    Returns:
        (B, T - first)

    Raises:
        InputError: a name is unknown, or "class" is asked for and no token comes before the patches.

    Reference:
        Xu et al., arXiv 2311.03035, MixedAttnMax and the other selections of its code.
    """
    check_choice("score", score, TOKEN_SCORES)
    check_choice("over_heads", over_heads, tuple(OVER_HEADS))
    if score == "class" and not first:
        raise InputError("score='class' needs a class token before the patches; use score='image'")
    attention, over = attention.detach(), OVER_HEADS[over_heads]
    attention = attention.to(torch.promote_types(attention.dtype, torch.float32))
    if score == "random":
        return torch.randn(attention.shape[0], attention.shape[2] - first, device=attention.device)
    if score == "cosine":
        rows = F.normalize(over(attention)[:, first:], dim=-1)
        return -(rows @ rows.sum(1).unsqueeze(-1)).squeeze(-1)
    diagonal = attention.diagonal(dim1=2, dim2=3)
    received = Received(attention[:, :, 0, first:], attention.sum(2)[..., first:], diagonal[..., first:])
    return OF_RECEIVED[score](received, over)


def without_small(attention: Tensor, kept: float) -> Tensor:
    r"""Return attention (B, H, T, T) in which a share of the entries of each head, the smallest, are 0.

    Entries below the :math:`\lfloor T^2 (1 - \text{kept}) \rfloor`-th smallest of the head become 0; rows then no
    longer sum to 1.

    Args:
        attention: (B, H, T, T).
        kept: share of the entries that is kept, above 0 and at most 1.

    Raises:
        InputError: the share is out of range.
    """
    if not 0 < kept <= 1:
        raise InputError(f"sparsity={kept} must be above 0 and at most 1, the share of the attention that is kept")
    rank = int(attention.shape[2] ** 2 * (1 - kept))
    if not rank:
        return attention
    threshold = attention.detach().flatten(2).kthvalue(rank, dim=-1).values
    return attention * (attention >= threshold[..., None, None])
