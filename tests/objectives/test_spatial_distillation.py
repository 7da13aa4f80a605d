"""Responses of a CNN that teach patches: loops over places, limits of the schedule, and bad input."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import create_model
from convnn.objectives import (
    CSKD,
    cskd_loss,
    deit_distillation,
    dense_responses,
    fuse_responses,
    fusion_ratio,
)

EXACT = {"rtol": 0.0, "atol": 1e-13}
GENERATOR = torch.Generator().manual_seed(0)
STUDENT = torch.randn(2, 36, 3, generator=GENERATOR, dtype=torch.float64)
TEACHER = torch.randn(2, 3, 3, 3, generator=GENERATOR, dtype=torch.float64)


def in_loops(student: Tensor, teacher: Tensor, ratio: float, kind: str, T: float) -> Tensor:
    """Return the loss of 6 x 6 patches and a 3 x 3 map, place by place."""
    total = student.new_zeros(())
    for sample in range(2):
        whole = sum(teacher[sample, :, i, j] for i in range(3) for j in range(3)) / 9
        for i in range(3):
            for j in range(3):
                q = ratio * teacher[sample, :, i, j] + (1 - ratio) * whole
                z = sum(student[sample, 6 * (2 * i + a) + 2 * j + b] for a in (0, 1) for b in (0, 1)) / 4
                log_z = z / T - (z / T).exp().sum().log()
                if kind == "hard":
                    best = max(range(3), key=lambda c, q=q: q[c].item())
                    total = total - (z[best] - z.exp().sum().log()) / 18
                else:
                    p = (q / T).exp() / (q / T).exp().sum()
                    total = total + T**2 / 2 * (p * (p.log() - log_z)).sum()
    return total


@pytest.mark.parametrize(("kind", "ratio", "T"), [("hard", 0.7, 1.0), ("soft", 0.3, 2.0), ("soft", 0.0, 0.5)])
def test_loss_and_gradient_are_those_of_loops(kind: str, ratio: float, T: float) -> None:
    student = STUDENT.clone().requires_grad_()
    teacher = TEACHER.clone().requires_grad_()
    loss, expected = (
        cskd_loss(student, teacher, ratio, kind=kind, temperature=T),
        in_loops(student, TEACHER, ratio, kind, T),
    )
    torch.testing.assert_close(loss, expected, **EXACT)
    [grad], [of_loops] = torch.autograd.grad(loss, student), torch.autograd.grad(expected, student)
    torch.testing.assert_close(grad, of_loops, **EXACT)
    assert not cskd_loss(STUDENT, teacher, ratio, kind=kind).requires_grad  # the teacher learns nothing


def test_the_schedule() -> None:
    assert [fusion_ratio(x / 4) for x in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert [fusion_ratio(x / 4, "x2") for x in range(5)] == [1, 9 / 16, 1 / 4, 1 / 16, 0]
    assert fusion_ratio(1 / 3, "cos") == pytest.approx(math.sqrt(3) / 2)
    assert fusion_ratio(0, "cos") == 1
    assert CSKD(decay="x2").ratio(5, 20) == 0.5625


def test_first_every_place_teaches_itself_and_last_all_the_same() -> None:
    on_grid = F.avg_pool2d(STUDENT.mT.unflatten(2, (6, 6)), 2)
    torch.testing.assert_close(cskd_loss(STUDENT, TEACHER, 1.0), F.cross_entropy(on_grid, TEACHER.argmax(1)), **EXACT)
    whole = TEACHER.mean((2, 3))
    patches = on_grid.flatten(2).mT.flatten(0, 1)  # each place like a token of the whole image
    repeated = deit_distillation(patches, whole.repeat_interleave(9, 0))
    torch.testing.assert_close(cskd_loss(STUDENT, TEACHER, 0.0), repeated, **EXACT)


def test_places_that_follow_the_whole_only_become_more() -> None:
    teacher = torch.randn(4, 5, 7, 7, generator=GENERATOR, dtype=torch.float64)
    best, before, counts = teacher.mean((2, 3)).argmax(1)[:, None, None], None, []
    for step in range(21):
        follows = fuse_responses(teacher, 1 - step / 20).argmax(1) == best
        assert before is None or bool((follows | ~before).all())
        before = follows
        counts.append(int(follows.sum()))
    assert counts[0] < counts[-1] == 4 * 49


def test_a_cnns_responses_have_its_output_as_their_mean() -> None:
    network = create_model("resnet18", "Conv2d", width=0.0625, dropout=0.5).double().eval()
    images = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    responses = dense_responses(network.forward_features(images), network.forward_head)
    assert responses.shape == (2, 10, 8, 6)
    torch.testing.assert_close(responses.mean((2, 3)), network(images), **EXACT)
    features = network.forward_features(images)[1:, :, 3:4, 5:6]
    torch.testing.assert_close(responses[1:, :, 3, 5], network.forward_head(features), **EXACT)


def test_the_coarser_of_two_grids_decides() -> None:
    """Check a map finer than the patches, a rectangle, and sides that are no multiples."""
    fine = F.interpolate(TEACHER, scale_factor=4, mode="nearest")  # 12 x 12, the same at all that lies in a patch
    patches = STUDENT[:, :9]
    torch.testing.assert_close(cskd_loss(patches, fine, 0.4), cskd_loss(patches, TEACHER, 0.4), **EXACT)
    wide = cskd_loss(STUDENT, TEACHER[:, :, :2], 0.4, grid=(4, 9))
    z = F.avg_pool2d(STUDENT.mT.unflatten(2, (4, 9)), (2, 3))
    torch.testing.assert_close(wide, F.cross_entropy(z, fuse_responses(TEACHER[:, :, :2], 0.4).argmax(1)), **EXACT)
    odd = cskd_loss(STUDENT[:, :25], TEACHER, 0.4, adaptive=True)
    z = F.adaptive_avg_pool2d(STUDENT[:, :25].mT.unflatten(2, (5, 5)), 3)
    torch.testing.assert_close(odd, F.cross_entropy(z, fuse_responses(TEACHER, 0.4).argmax(1)), **EXACT)


def test_the_scheme_weighs_three_losses() -> None:
    labels, token = torch.tensor(2.0), STUDENT[:, 0]
    scheme = CSKD(alpha=0.3, weight=0.7, token="soft", patches="soft", temperature=3.0)
    of_token, of_patches = scheme.losses(token, STUDENT, TEACHER, 0.25)
    whole = TEACHER.mean((2, 3))
    torch.testing.assert_close(of_token, deit_distillation(token, whole, kind="soft", temperature=3.0), **EXACT)
    torch.testing.assert_close(of_patches, cskd_loss(STUDENT, TEACHER, 0.25, kind="soft", temperature=3.0), **EXACT)
    expected = 0.7 * labels + 0.3 * of_token + 0.7 * of_patches
    torch.testing.assert_close(scheme.total(labels, of_token, of_patches), expected, **EXACT)
    assert CSKD(token="none").total(labels, of_token, of_patches) == labels


WRONG = {
    "square": (lambda: cskd_loss(STUDENT[:, :35], TEACHER, 1.0), "^student has 35 patches, which are not a square$"),
    "grid": (
        lambda: cskd_loss(STUDENT, TEACHER, 1.0, grid=(5, 7)),
        r"^student has 36 patches, which are not grid=\(5, 7\)$",
    ),
    "axes": (lambda: cskd_loss(STUDENT[0], TEACHER, 1.0), r"^student of shape \(36, 3\) must be \(B, M, K\)$"),
    "classes": (
        lambda: cskd_loss(STUDENT, TEACHER[:, :2], 1.0),
        r"^teacher of shape \(2, 2, 3, 3\) must have the 2 samples and 3 classes of the student$",
    ),
    "no map": (
        lambda: cskd_loss(STUDENT, TEACHER[..., 0], 1.0),
        r"^teacher of shape \(2, 3, 3\) must be \(B, K, h, w\)$",
    ),
    "division": (
        lambda: cskd_loss(STUDENT[:, :25], TEACHER, 1.0),
        "^a grid of 5 x 5 cannot be averaged to 3 x 3, as its sides are no multiples; give adaptive=True$",
    ),
    "ratio": (lambda: cskd_loss(STUDENT, TEACHER, 1.1), "^ratio=1.1 must lie between 0 and 1$"),
    "kind": (lambda: cskd_loss(STUDENT, TEACHER, 1.0, kind="both"), "^kind='both' is not one of hard, soft"),
    "temperature": (lambda: cskd_loss(STUDENT, TEACHER, 1, temperature=0), "^temperature=0 must be a positive number$"),
    "progress": (lambda: fusion_ratio(1.5), "^progress=1.5 must lie between 0 and 1$"),
    "decay": (lambda: fusion_ratio(0.5, "x3"), "^kind='x3' is not one of linear, x2, cos"),
    "epoch": (lambda: CSKD().ratio(4, 3), "^epoch=4 must lie between 0 and epochs=3, of which there must be one$"),
    "epochs": (lambda: CSKD().ratio(0, 0), "^epoch=0 must lie between 0 and epochs=0"),
    "alpha": (lambda: CSKD(alpha=-0.1), "^alpha=-0.1 must lie between 0 and 1$"),
    "weight": (lambda: CSKD(weight=-1), "^weight=-1 must be at least 0$"),
    "token": (lambda: CSKD(token="all"), "^token='all' is not one of hard, soft, none"),
    "features": (
        lambda: dense_responses(STUDENT, lambda x: x),
        r"^features of shape \(2, 36, 3\) must be maps, \(B, F",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
