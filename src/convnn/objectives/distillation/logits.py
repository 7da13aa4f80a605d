"""Distillation of logits: what a teacher thinks of every class, taught to a student, whatever network they are."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_choice, check_positive

KINDS = ("hard", "soft")
"""Whether a student learns the teacher's best class, or its probability of every class."""


def logit_distillation(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""Return how far the student's distribution over the classes is from the teacher's, as a mean over the samples.

    .. math:: \frac{T^2}{B} \sum_{b} \operatorname{KL}\left( \operatorname{softmax}(t_b / T)
        \,\|\, \operatorname{softmax}(s_b / T) \right)

    The factor keeps the size of the gradients as the temperature changes. The teacher gets no gradient.

    Args:
        student: (B, K) logits s.
        teacher: (B, K) logits t.
        temperature: T, positive; the higher, the more the unlikely classes count.

    Returns:
        A number, at least 0, and 0 where both agree.

    Raises:
        InputError: shapes differ, or the temperature is not positive.

    Reference:
        Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.

    Example:
        >>> logit_distillation(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        tensor(0.)
    """
    check_logits(student, teacher)
    return divergence(student, teacher, temperature) / max(student.shape[0], 1)


def deit_distillation(student: Tensor, teacher: Tensor, *, kind: str = "hard", temperature: float = 1.0) -> Tensor:
    r"""Return the loss by which a distillation token learns from a teacher.

    Hard, it is the cross-entropy with the teacher's best class; soft, that of `logit_distillation` over the number of
    classes, as the published code has it:

    .. math:: \frac{T^2}{B K} \sum_{b} \operatorname{KL}\left( \operatorname{softmax}(t_b / T)
        \,\|\, \operatorname{softmax}(s_b / T) \right)

    Args:
        student: (B, K) logits s, those of the distillation token.
        teacher: (B, K) logits t; of equal ones the first class is the best.
        kind: "hard" or "soft".
        temperature: T, positive; only soft targets have one.

    Raises:
        InputError: shapes differ, the kind is unknown, or the temperature is not positive.

    Reference:
        Touvron et al., "Training data-efficient image transformers", arXiv 2012.12877, section 4.
    """
    check_choice("kind", kind, KINDS)
    check_logits(student, teacher)
    check_positive("temperature", temperature)
    if kind == "hard":
        return best_class_loss(student, teacher)
    return divergence(student, teacher, temperature) / max(student.numel(), 1)


def best_class_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the cross-entropy of logits (B, K, ...) with the teacher's best class, a mean over all but the classes.

    Of equal ones the first is the best. The mean over no samples, which a process may have of a batch, is 0.
    """
    return F.cross_entropy(student, teacher.argmax(1), reduction="sum") / max(teacher[:, :1].numel(), 1)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    r"""Return :math:`T^2 \operatorname{KL}` of logits (B, K, ...), summed over everything but the classes."""
    check_positive("temperature", temperature)
    of_student, of_teacher = ((logits / temperature).log_softmax(1) for logits in (student, teacher.detach()))
    return temperature**2 * F.kl_div(of_student, of_teacher, reduction="sum", log_target=True)


def check_logits(student: Tensor, teacher: Tensor) -> None:
    """Check that both are logits (B, K) of the same samples and classes.

    Raises:
        InputError: they are not; the message names both shapes.
    """
    if student.dim() != 2 or student.shape != teacher.shape:
        raise InputError(
            f"student of shape {tuple(student.shape)} and teacher of shape {tuple(teacher.shape)} must both be (B, K)"
        )


def target_classes(target: Tensor, student: Tensor) -> Tensor:
    """Return the class (B,) of every sample: its label, or the largest of mixed ones, the first of equal ones.

    Args:
        target: (B,) int64, or (B, K) shares of the classes.
        student: (B, K) logits.

    Raises:
        InputError: the shape or type is wrong, or a class does not exist.
    """
    samples, classes = student.shape
    if target.is_floating_point() and target.shape == student.shape:
        return target.argmax(1)
    if target.dtype != torch.int64 or target.shape != (samples,):
        raise InputError(
            f"target of shape {tuple(target.shape)} and {target.dtype} must be ({samples},) int64, or"
            f" ({samples}, {classes}) shares of the classes"
        )
    if samples and not bool(((target >= 0) & (target < classes)).all()):
        low, high = target.min().item(), target.max().item()
        raise InputError(f"target has classes from {low} to {high}; they must lie between 0 and {classes - 1}")
    return target
