"""Attention maps of a large network on a graph, taught to a small one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative

Attention = tuple[Tensor, Tensor]
"""Edges (2, E), source and target, and their weights (E, H) for each head: as PyTorch Geometric returns attention."""

SMALLEST = 1e-12
"""The weight that a smaller one of the student counts as, so that its logarithm is finite."""


def attention_distillation(
    teacher: Attention, student: Attention, nodes: int, *, average_heads: bool = False
) -> Tensor:
    r"""Return how far the student's attention is from the teacher's, as a mean over nodes and heads.

    .. math:: \frac{1}{N H} \sum_{i=1}^{N} \sum_{h=1}^{H} \sum_{j \in N(i)}
        a^T_{ijh} \left( \log a^T_{ijh} - \log a^S_{ijh} \right)

    which is the Kullback-Leibler divergence. The teacher gets no gradient; its weights of 0 count 0. No labels are
    needed, so it is taken over all nodes.

    Args:
        teacher: edges (2, E), and weights (E, H) that add up to 1 over the edges into each node.
        student: the same edges in the same order, and weights (E, H).
        nodes: N.
        average_heads: compare the means over the heads, where teacher and student have different numbers of them.

    Returns:
        A number, at least 0, and 0 where both agree.

    Raises:
        InputError: edges or numbers of heads differ, weights do not fit the edges, or there are no nodes.

    Reference:
        Wu, arXiv 2403.15419. Its code is not public; the divergence is the assumption that this formula makes.

    Example:
        >>> edges, weights = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0.5], [0.5]])
        >>> attention_distillation((edges, weights), (edges, weights), 2)
        tensor(0.)
    """
    check_at_least("nodes", nodes, 1)
    (edges, of_teacher), (others, of_student) = teacher, student
    if not torch.equal(edges, others):
        raise InputError(
            f"the student's {others.shape[-1]} edges must be the teacher's {edges.shape[-1]}, in the same order"
        )
    for name, weights in (("teacher", of_teacher), ("student", of_student)):
        if weights.dim() != 2 or weights.shape[0] != edges.shape[-1]:
            raise InputError(f"{name} has weights of shape {tuple(weights.shape)}; they must be ({edges.shape[-1]}, H)")
    if average_heads:
        of_teacher, of_student = (weights.mean(1, keepdim=True) for weights in (of_teacher, of_student))
    heads = of_student.shape[1]
    if of_teacher.shape[1] != heads:
        raise InputError(
            f"teacher has {of_teacher.shape[1]} heads and student {heads}; give both the same number, or average_heads"
        )
    logarithms = of_student.clamp_min(SMALLEST).log()
    return F.kl_div(logarithms, of_teacher.detach(), reduction="sum") / (nodes * heads)


def distilled_cross_entropy(
    logits: Tensor, labels: Tensor, train: Tensor, distillation: Tensor, *, alpha: float = 0.1
) -> Tensor:
    r"""Return the cross-entropy of the labelled nodes and :math:`\alpha` times a loss of distillation.

    Args:
        logits: (N, C).
        labels: (N,) int64; those of other nodes are not read.
        train: (N,) bool, which nodes have a label.
        distillation: a number, such as `attention_distillation` returns.
        alpha: its weight, at least 0; the best reported is 0.1.

    Returns:
        A number.

    Raises:
        InputError: no node has a label, `train` has another shape or type, or alpha is negative.

    Reference:
        Wu, arXiv 2403.15419.
    """
    check_not_negative("alpha", alpha)
    if train.dtype != torch.bool or train.shape != logits.shape[:1] or not train.any():
        raise InputError(f"train must be ({logits.shape[0]},) bool, True for at least one node with a label")
    return F.cross_entropy(logits[train], labels[train]) + alpha * distillation
