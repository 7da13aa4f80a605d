"""Contrast by labels: pytorch-metric-learning, a definition in loops, blocks, and rows alone in their class."""

import math

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives.contrastive import supervised_contrast

Z = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
LABELS = torch.tensor([0, 1, 1, 2, 0, 2, 1, 2, 3, 1, 0, 4])


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_is_that_of_pytorch_metric_learning(temperature: float) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    leaf = Z.clone().requires_grad_()
    ours = supervised_contrast(leaf, LABELS, temperature=temperature)
    theirs = losses.SupConLoss(temperature=temperature)(leaf, LABELS)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad(loss, leaf)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-11)


def test_is_the_definition_and_blocks_change_nothing() -> None:
    f, terms = F.normalize(Z, dim=1), []
    for i in range(12):
        positives = [j for j in range(12) if j != i and LABELS[j] == LABELS[i]]
        if positives:
            total = math.log(sum(math.exp(f[i] @ f[a] / 0.3) for a in range(12) if a != i))
            terms.append(-sum(float(f[i] @ f[j]) / 0.3 - total for j in positives) / len(positives))
    for rows in (None, 1, 5):
        found = supervised_contrast(Z, LABELS, temperature=0.3, rows=rows)
        assert found.item() == pytest.approx(sum(terms) / len(terms), abs=1e-12)


@pytest.mark.parametrize("count", [1, 5])
def test_rows_without_others_of_their_class_have_no_loss(count: int) -> None:
    leaf = Z[:count].clone().requires_grad_()
    loss = supervised_contrast(leaf, torch.arange(count))
    assert loss.item() == 0
    assert torch.equal(torch.autograd.grad(loss, leaf)[0], torch.zeros_like(leaf))


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"^labels of shape \(3,\) and torch.int64 must be \(12,\) int64$"):
        supervised_contrast(Z, LABELS[:3])
    with pytest.raises(InputError, match=r"^labels of shape .* and torch.float32 must be"):
        supervised_contrast(Z, LABELS.float())
    with pytest.raises(InputError, match=r"^temperature=0 must be a positive number$"):
        supervised_contrast(Z, LABELS, temperature=0)
    with pytest.raises(InputError, match=r"^z of shape \(12,\)"):
        supervised_contrast(Z[:, 0], LABELS)
