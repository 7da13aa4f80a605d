"""Contrast under wrong annotations: the loss of CLIP, loops, rotations, and what a teacher believes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives.contrastive import common_nce_loss, pair_confidence, quadratic_contrast_loss
from convnn.objectives.momentum_teacher import MomentumTeacher
from convnn.tasks.match import match


def _rows(count: int = 5, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, width, generator=generator, dtype=torch.double) for _ in range(4)]


SCALE, TEACHER_SCALE = torch.tensor(1.2).double(), torch.tensor(0.7).double()


def test_without_a_teacher_it_is_the_loss_of_clip() -> None:
    x, y, *teachers = _rows()
    scores = SCALE.exp() * F.normalize(x, dim=1) @ F.normalize(y, dim=1).T
    wanted = (F.cross_entropy(scores, torch.arange(5)) + F.cross_entropy(scores.T, torch.arange(5))) / 2
    torch.testing.assert_close(common_nce_loss(x, y, *teachers, SCALE, TEACHER_SCALE, 0), wanted)


def test_a_pair_that_the_teacher_alone_sees_is_drawn_together() -> None:
    x, y = torch.eye(4).requires_grad_(), torch.eye(4).roll(1, 0)
    common_nce_loss(x, y, x, y, torch.tensor(1.0), torch.tensor(5.0), 0.4).backward()
    assert (x.grad[0] @ y[1]) < (x.grad[0] @ y[2])  # x_0 goes towards its like, annotated for another


def test_the_quadratic_contrast_is_that_of_loops() -> None:
    x, y, *teachers = _rows()
    u, v, u_, v_ = (F.normalize(one, dim=1) for one in (x, y, *teachers))
    c = [(u_[i] @ v_[i]) / (u_[i] @ v_.T).sum() / 2 + (u_[i] @ v_[i]) / (u_ @ v_[i]).sum() / 2 for i in range(5)]
    c = [(one - min(c)) / (max(c) - min(c)) for one in c]
    torch.testing.assert_close(pair_confidence(*teachers), torch.stack(c))
    total = 0.0
    for i in range(5):
        for j in range(5):
            apart = (u[i] @ u[j] - v[i] @ v[j]) ** 2 + (u[i] @ v[j] - v[i] @ u[j]) ** 2
            total += c[i] * c[j] * apart / 5  # the least is 0 and the most 1: spread already
    torch.testing.assert_close(quadratic_contrast_loss(x, y, *teachers), total)


def test_rotations_change_nothing_and_equals_cost_nothing() -> None:
    x, y, *teachers = _rows()
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.double)).Q
    torch.testing.assert_close(
        quadratic_contrast_loss(x @ turn, y @ turn, *teachers), quadratic_contrast_loss(x, y, *teachers)
    )
    assert quadratic_contrast_loss(x, x, *teachers) == 0
    assert quadratic_contrast_loss(*(one[:2] for one in _rows())) < 1e-30  # below three pairs there is no signal
    assert torch.equal(pair_confidence(torch.eye(3), torch.eye(3)), torch.ones(3))


def test_gradients_are_those_of_finite_differences() -> None:
    x, y, *teachers = _rows()
    inputs = (x.requires_grad_(), y.requires_grad_(), SCALE.clone().requires_grad_())

    def both(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        nce = common_nce_loss(x, y, *teachers, scale, TEACHER_SCALE, 0.4)
        return nce + quadratic_contrast_loss(x, y, *teachers)

    assert torch.autograd.gradcheck(both, inputs, fast_mode=True)


def test_a_teacher_follows_with_its_parameters_and_keeps_its_buffers() -> None:
    student = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    teacher = MomentumTeacher(student, 0.9)
    before = student[0].weight.detach().clone()
    with torch.no_grad():
        student[0].weight.add_(1)
    student(torch.randn(4, 2))
    teacher.update(student)
    torch.testing.assert_close(teacher.module[0].weight, before + 0.1)
    assert teacher.module[1].num_batches_tracked == 0
    assert not teacher(torch.randn(4, 2)).requires_grad
    assert teacher.module[1].num_batches_tracked == 1
    with pytest.raises(InputError, match="student has other parameters"):
        teacher.update(nn.Linear(2, 2))


def test_an_assignment_leaves_padding_out() -> None:
    similarity = torch.tensor([[1.0, 2.0, 9.0], [3.0, 5.0, 9.0]])
    assert match(similarity, 2, 2).tolist() == [[0, 1], [0, 1]]
    assert match(similarity, 1, 3).tolist() == [[0], [2]]
    assert match(similarity.T).shape == (2, 2)


A, B = torch.ones(3, 2), torch.ones(4, 2)
ZERO = torch.zeros(())
BAD = [
    (lambda: common_nce_loss(A, B, A, A, ZERO, ZERO, 0), r"y of shape \(4, 2\) must have the shape of x, \(3, 2\)"),
    (lambda: common_nce_loss(A, A, A, B, ZERO, ZERO, 0), r"teacher_y of shape \(4, 2\) must have"),
    (lambda: common_nce_loss(A, A, A, A, ZERO, ZERO, 1.5), r"alpha=1.5 must lie between 0 and 1"),
    (lambda: quadratic_contrast_loss(A[:1], A[:1], A[:1], A[:1]), r"1 pairs are too few"),
    (lambda: quadratic_contrast_loss(A, A, B, A), r"teacher_x of shape \(4, 2\) must have"),
    (lambda: pair_confidence(A[0], A[0]), r"teacher_x of shape \(2,\)"),
    (lambda: MomentumTeacher(nn.Linear(1, 1), 1.0), r"momentum=1.0 must be at least 0 and less than 1"),
    (lambda: match(torch.zeros(3)), r"similarity of shape \(3,\) must be a matrix"),
    (lambda: match(torch.zeros(3, 2), columns=3), r"columns=3 must lie between 0 and 2"),
    (lambda: match(torch.full((2, 2), torch.nan)), r"infinite or NaN"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_told_in_a_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
