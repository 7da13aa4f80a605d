"""CoCo's losses: cross entropy, the losses of pytorch-metric-learning, classes that are missing, and training."""

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives.contrastive import CoCoLoss, cross_branch_loss, cross_domain_loss
from small_graphs import features


def test_branches_are_cross_entropy_and_infonce_with_references() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    z, zk = features(7, 4).requires_grad_(), features(7, 4, seed=2).requires_grad_()
    ours, ids = cross_branch_loss(z, zk, 0.4, rows=3), torch.arange(7)
    by_torch = F.cross_entropy(F.normalize(z, dim=1) @ F.normalize(zk, dim=1).mT / 0.4, ids)
    theirs = losses.NTXentLoss(0.4)(z, ids, ref_emb=zk, ref_labels=ids.clone())
    for other in (by_torch, theirs):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-14)
        pairs = zip(*(torch.autograd.grad(loss, (z, zk), retain_graph=True) for loss in (ours, other)), strict=True)
        for one, two in pairs:
            torch.testing.assert_close(one, two, rtol=0, atol=1e-14)


def test_domains_are_supervised_contrast_with_references() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    z, zk = features(6, 4).requires_grad_(), features(8, 4, seed=2).requires_grad_()
    y, supposed = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0]), torch.tensor([2, 1, 0, 0, 1, 2])
    ours = cross_domain_loss(z, zk, y, supposed, 0.3, rows=4)
    theirs = losses.SupConLoss(0.3)(z, supposed, ref_emb=zk, ref_labels=y)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    slopes = [torch.autograd.grad(loss, zk, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-14)


def test_targets_whose_class_is_missing_do_not_count() -> None:
    z, zk, y = features(5, 4).requires_grad_(), features(6, 4, seed=2), torch.tensor([0, 1, 0, 1, 1, 0])
    supposed = torch.tensor([0, 2, 1, 2, 0])
    some = cross_domain_loss(z, zk, y, supposed)
    torch.testing.assert_close(some, cross_domain_loss(z[[0, 2, 4]], zk, y, supposed[[0, 2, 4]]), rtol=0, atol=1e-15)
    none = cross_domain_loss(z, zk, y, torch.full((5,), 7))
    assert none == 0
    assert torch.autograd.grad(none, z)[0].abs().max() == 0


def test_scheme() -> None:
    source, target = (
        (features(n, 3, seed=s), features(n, 3, seed=s + 1), features(n, 2, seed=s + 2)) for n, s in ((4, 1), (3, 5))
    )
    labels = torch.tensor([0, 1, 1, 0])
    terms = CoCoLoss(0.0, 0.0)(source, target, labels)
    assert tuple(terms) == CoCoLoss.terms
    assert sum(terms.values()) == F.cross_entropy(source[2], labels)  # as trained on the source alone
    scheme = CoCoLoss(0.5, 2.0, 0.3, warm_up=4)
    both = scheme(source, target, labels, 4)
    branches = [torch.cat([a, b]) for a, b in zip(source, target, strict=True)]
    assert both["cross_branch"] == 0.5 * cross_branch_loss(*branches[:2], 0.3)
    supposed = target[2].argmax(1)
    assert both["cross_domain"] == 2 * cross_domain_loss(target[0], source[1], labels, supposed, 0.3)
    assert scheme(source, target, labels, 3)["cross_domain"] == 0


Z, Y = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
WRONG = {
    "shapes": (
        lambda: cross_branch_loss(Z, Z[:3]),
        r"^z of shape \(4, 3\) and zk of shape \(3, 3\) must both be \(B, d",
    ),
    "one": (lambda: cross_branch_loss(Z[:1], Z[:1]), "with B at least 2$"),
    "tau": (lambda: cross_branch_loss(Z, Z, 0), "^temperature=0 must be a positive number$"),
    "labels": (lambda: cross_domain_loss(Z, Z, Y[:3], Y), r"^labels of zk_source of shape \(3,\) and torch.int64 must"),
    "type": (lambda: cross_domain_loss(Z, Z, Y, Y.float()), r"^labels of z_target of shape \(4,\) and torch.float32"),
    "class": (
        lambda: CoCoLoss()((Z, Z, Z), (Z, Z, Z), 2 * Y + 1),
        "^labels from 1 to 3 must lie between 0 and 2$",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
