"""Distillation of attention: torch's divergence, its limits, and bad input."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives import attention_distillation, distilled_cross_entropy

EDGES = torch.tensor([[0, 1, 2, 0, 1], [0, 0, 0, 1, 1]])


def weights(heads: int, seed: int) -> Tensor:
    """Return weights (5, heads) of EDGES that add up to 1 over the edges into each of two nodes."""
    scores = torch.randn(5, heads, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([scores[:3].softmax(0), scores[3:].softmax(0)])


def test_it_is_the_divergence_of_torch() -> None:
    teacher, student = weights(3, 0), weights(3, 1)
    loss = attention_distillation((EDGES, teacher), (EDGES, student), 2)
    expected = F.kl_div(student.log(), teacher.log(), reduction="sum", log_target=True) / 6
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-15)
    assert loss > 0
    assert attention_distillation((EDGES, teacher), (EDGES, teacher), 2) == 0


def test_weights_that_have_become_0_count() -> None:
    peaked = torch.tensor([[1.0], [0], [0], [1], [0]], dtype=torch.float64)
    student = weights(1, 0).requires_grad_()
    loss = attention_distillation((EDGES, peaked), (EDGES, student), 2)
    torch.testing.assert_close(loss, -(student[0] * student[3]).log().squeeze() / 2, rtol=0, atol=1e-15)
    reverse = attention_distillation((EDGES, student), (EDGES, peaked), 2)
    assert reverse.isfinite()
    assert not reverse.requires_grad  # the teacher learns nothing


def test_different_numbers_of_heads_are_averaged_where_that_is_asked_for() -> None:
    teacher, student = weights(4, 0), weights(2, 1)
    loss = attention_distillation((EDGES, teacher), (EDGES, student), 2, average_heads=True)
    means = (EDGES, teacher.mean(1, keepdim=True)), (EDGES, student.mean(1, keepdim=True))
    assert loss == attention_distillation(*means, 2)
    with pytest.raises(InputError, match=r"^teacher has 4 heads and student 2; give both the same number, or average_"):
        attention_distillation((EDGES, teacher), (EDGES, student), 2)


def test_bad_input() -> None:
    a, b = weights(2, 0), weights(2, 1)
    with pytest.raises(InputError, match=r"^the student's 5 edges must be the teacher's 5, in the same order$"):
        attention_distillation((EDGES, a), (EDGES.flip(1), b), 2)
    with pytest.raises(InputError, match=r"^student has weights of shape \(4, 2\); they must be \(5, H\)$"):
        attention_distillation((EDGES, a), (EDGES, b[1:]), 2)
    with pytest.raises(InputError, match=r"^nodes=0 must be an integer of at least 1$"):
        attention_distillation((EDGES, a), (EDGES, b), 0)


def test_labels_and_distillation_are_added() -> None:
    logits, labels = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, -1])
    train, distillation = torch.tensor([True, True, False, False]), torch.tensor(0.5, dtype=torch.float64)
    loss = distilled_cross_entropy(logits, labels, train, distillation, alpha=0.2)
    assert loss == F.cross_entropy(logits[:2], labels[:2]) + 0.1
    with pytest.raises(InputError, match=r"^alpha=-1 must be at least 0$"):
        distilled_cross_entropy(logits, labels, train, distillation, alpha=-1)
    with pytest.raises(InputError, match=r"^train must be \(4,\) bool, True for at least one node with a label$"):
        distilled_cross_entropy(logits, labels, torch.zeros(4, dtype=torch.bool), distillation)
    with pytest.raises(InputError, match=r"^train must be \(4,\) bool"):
        distilled_cross_entropy(logits, labels, torch.tensor([0, 1]), distillation)
