"""Probabilities of views."""

from torch import Tensor

from convnn.errors import InputError, check_fraction


def check_probability(p: float | Tensor, count: int, of: str) -> None:
    """Refuse what is neither one probability nor one for each of `count` things.

    Raises:
        InputError: it has another shape or type, or lies outside 0 and 1.
    """
    if not isinstance(p, Tensor):
        check_fraction("p", p)
        return
    if p.shape != (count,) or not p.is_floating_point():
        raise InputError(
            f"p of shape {tuple(p.shape)} and {p.dtype} must be floating and ({count},), one for each {of}"
        )
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise InputError(f"p must lie between 0 and 1 for each {of}, and has {p[~((p >= 0) & (p <= 1))][0].item()}")
