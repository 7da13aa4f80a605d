"""Distillation of logits, plain and with the right class enhanced: loops, torch's losses, and bad input."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives import OFADistillation, deit_distillation, logit_distillation, ofa_loss

EXACT = {"rtol": 0.0, "atol": 1e-14}


def logits(seed: int, samples: int = 6, classes: int = 5, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(samples, classes, generator=generator, dtype=torch.float64)


STUDENT, TEACHER = logits(0), logits(1)
TARGET = torch.tensor([0, 4, 2, 2, 1, 3])


def softmax(row: Tensor, temperature: float) -> list[float]:
    exponentials = [math.exp(value / temperature) for value in row.tolist()]
    return [value / sum(exponentials) for value in exponentials]


def ofa_in_loops(student: Tensor, teacher: Tensor, target: Tensor, exponent: float, temperature: float) -> float:
    total = 0.0
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        total -= ((1 + p[y]) ** exponent - 1) * math.log(q[y])
        total -= sum(p[c] ** exponent * math.log(q[c]) for c in range(len(q)) if c != y)
    return total / len(student)


@pytest.mark.parametrize(("exponent", "temperature"), [(1.0, 1.0), (1.5, 3.0), (0.7, 0.5)])
def test_enhanced_loss_is_that_of_its_definition(exponent: float, temperature: float) -> None:
    loss = ofa_loss(STUDENT, TEACHER, TARGET, exponent=exponent, temperature=temperature)
    assert loss.item() == pytest.approx(ofa_in_loops(STUDENT, TEACHER, TARGET, exponent, temperature), abs=1e-13)


@pytest.mark.parametrize("T", [1.0, 2.5])
def test_with_exponent_1_it_is_plain_distillation(T: float) -> None:
    student = STUDENT.clone().requires_grad_()
    loss, plain = ofa_loss(student, TEACHER, TARGET, temperature=T), logit_distillation(student, TEACHER, temperature=T)
    p = (TEACHER / T).softmax(1)
    torch.testing.assert_close(loss, F.cross_entropy(student / T, p), **EXACT)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(loss, plain / T**2 + entropy, **EXACT)
    [of_loss], [of_plain] = torch.autograd.grad(loss, student), torch.autograd.grad(plain, student)
    torch.testing.assert_close(of_loss, of_plain / T**2, **EXACT)
    torch.testing.assert_close(of_loss, ((student / T).softmax(1) - p).detach() / T / 6, **EXACT)


def weights_of(teacher: Tensor, target: Tensor, exponent: float) -> Tensor:
    """Return the weight of every class in the loss of one sample, from a student that does not know.

    There all classes cost log K, which tells the sum of the weights, and the gradient is that sum / K less the weight.
    """
    student = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    loss = ofa_loss(student, teacher[None], target[None], exponent=exponent)
    [grad] = torch.autograd.grad(loss, student)
    return loss.detach() / math.log(5) / 5 - grad[0]


@pytest.mark.parametrize("sample", range(6))
def test_the_exponent_moves_weight_to_the_right_class(sample: int) -> None:
    p, y = TEACHER[sample].softmax(0), TARGET[sample]
    is_other = torch.arange(5) != y
    shares = []
    for exponent in (0.7, 1.0, 1.5, 3.0):
        weights = weights_of(TEACHER[sample], y, exponent)
        shares.append((weights[y] / weights.sum()).item())
        if exponent > 1:
            assert weights[y] > p[y]
            assert (weights[is_other] < p[is_other]).all()
    assert all(fewer < more for fewer, more in pairwise(shares))


def test_plain_distillation() -> None:
    loss = logit_distillation(STUDENT, TEACHER, temperature=2.0).item()
    rows = [(softmax(s, 2), softmax(t, 2)) for s, t in zip(STUDENT, TEACHER, strict=True)]
    expected = sum(p_ * math.log(p_ / q_) for q, p in rows for q_, p_ in zip(q, p, strict=True))
    assert loss == pytest.approx(4 * expected / 6, abs=1e-13)
    shifted = STUDENT + torch.arange(6.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(logit_distillation(shifted, STUDENT), torch.zeros((), dtype=torch.float64), **EXACT)


def test_at_high_temperatures_logits_are_compared() -> None:
    """Check Hinton's limit: half the mean squared difference of centred logits, over the number of classes."""
    student, teacher = (one - one.mean(1, keepdim=True) for one in (STUDENT, TEACHER))
    expected = (student - teacher).square().sum() / (2 * student.numel())
    found = logit_distillation(student, teacher, temperature=1e4)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_a_distillation_token_learns_the_best_class_or_all() -> None:
    ties = torch.tensor([[1.0, 3, 3, 0, 3]], dtype=torch.float64)
    hard = deit_distillation(STUDENT[:1], ties)
    torch.testing.assert_close(hard, F.cross_entropy(STUDENT[:1], torch.tensor([1])), **EXACT)
    soft = deit_distillation(STUDENT, TEACHER, kind="soft", temperature=3.0)
    torch.testing.assert_close(soft, logit_distillation(STUDENT, TEACHER, temperature=3.0) / 5, **EXACT)


def test_far_logits_and_mixed_labels() -> None:
    far = torch.tensor([[0.0, 400.0]], requires_grad=True)
    loss = ofa_loss(far, -far.detach(), torch.tensor([0]))
    assert loss.item() == pytest.approx(400)  # log(softmax) of float32 is -inf here
    mixed = torch.zeros(6, 5, dtype=torch.float64).scatter(1, TARGET[:, None], 0.6) + 0.08
    assert ofa_loss(STUDENT, TEACHER, mixed, exponent=1.5) == ofa_loss(STUDENT, TEACHER, TARGET, exponent=1.5)
    teacher = TEACHER.clone().requires_grad_()
    assert not ofa_loss(STUDENT, teacher, TARGET).requires_grad
    assert not logit_distillation(STUDENT, teacher).requires_grad


def test_features_have_exponents_of_their_own() -> None:
    projectors = {"1": torch.nn.Linear(3, 5), "2": torch.nn.Linear(7, 5)}
    scheme = OFADistillation(projectors, exponents=[1.2, 0.8, 1.5], temperature=2.0).double()
    features = {"1": torch.randn(6, 3).double(), "2": torch.randn(6, 7).double()}
    of_logits, of_features = scheme(STUDENT, features, TEACHER, TARGET)
    assert of_logits == ofa_loss(STUDENT, TEACHER, TARGET, exponent=1.5, temperature=2.0)
    parts = [
        ofa_loss(projectors[name](features[name]), TEACHER, TARGET, exponent=exponent, temperature=2.0)
        for name, exponent in (("1", 1.2), ("2", 0.8))
    ]
    torch.testing.assert_close(of_features, parts[0] + parts[1], **EXACT)
    one = OFADistillation(projectors, exponents=[1.5])
    assert one.exponents == (1.5, 1.5, 1.5)
    alone = OFADistillation({})(STUDENT, {}, TEACHER, TARGET)
    assert alone == (ofa_loss(STUDENT, TEACHER, TARGET), 0)


WRONG = {
    "shapes": (
        lambda: ofa_loss(STUDENT, TEACHER[:, 1:], TARGET),
        r"^student of shape \(6, 5\) and teacher of shape \(6",
    ),
    "exponent": (lambda: ofa_loss(STUDENT, TEACHER, TARGET, exponent=0), "^exponent=0 must be a positive number$"),
    "temperature": (
        lambda: logit_distillation(STUDENT, TEACHER, temperature=-1),
        "^temperature=-1 must be a positive number$",
    ),
    "target": (
        lambda: ofa_loss(STUDENT, TEACHER, TARGET[:5]),
        r"^target of shape \(5,\) and torch.int64 must be \(6,\) int64, or \(6, 5\) shares of the classes$",
    ),
    "class": (
        lambda: ofa_loss(STUDENT, TEACHER, TARGET - 1),
        "^target has classes from -1 to 3; they must lie between 0 and 4$",
    ),
    "kind": (lambda: deit_distillation(STUDENT, TEACHER, kind="none"), "^kind='none' is not one of hard, soft"),
    "exponents": (
        lambda: OFADistillation({"1": torch.nn.Identity()}, exponents=[1, 2, 3]),
        r"^exponents=\(1, 2, 3\) must be one number, or 2: one for each of 1 projectors, then that of the logits$",
    ),
    "negative": (lambda: OFADistillation({}, exponents=[-1.0]), "^exponent=-1.0 must be a positive number$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
