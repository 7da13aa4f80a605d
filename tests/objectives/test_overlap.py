"""The soft Dice loss: sharp predictions, the definition in loops, gradients, and what is refused."""

import pytest
import torch
from sklearn.metrics import f1_score
from torch.autograd import gradcheck

from convnn.errors import InputError
from convnn.objectives.overlap import dice_loss


def test_of_sharp_predictions_it_is_one_minus_the_f1_score() -> None:
    generator = torch.Generator().manual_seed(0)
    found, true = (torch.randint(2, (3, 2, 4, 5, 6), generator=generator) for _ in range(2))
    maps = zip(true.view(6, -1), found.view(6, -1), strict=True)
    wanted = 1 - sum(f1_score(*one) for one in maps) / 6
    assert dice_loss(1000.0 * (2 * found - 1).double(), true, smooth=0).item() == pytest.approx(wanted, abs=1e-12)
    assert dice_loss(1000.0 * (2 * true - 1).double(), true).item() == pytest.approx(0, abs=1e-12)


def test_it_is_the_definition_and_has_its_gradient() -> None:
    logits = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double).requires_grad_()
    target = (torch.arange(18) % 3 == 0).view(2, 3, 3)
    expected = 0.0
    for one, wanted in zip(logits[:, 0], target, strict=True):
        pairs = [(1 / (1 + torch.exp(-z)), float(t)) for z, t in zip(one.flatten(), wanted.flatten(), strict=True)]
        expected = expected + 1 - (2 * sum(p * t for p, t in pairs) + 0.5) / (sum(p + t for p, t in pairs) + 0.5)
    torch.testing.assert_close(dice_loss(logits, target, smooth=0.5), expected / 2)
    assert gradcheck(lambda z: dice_loss(z, target), logits, fast_mode=True)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"^logits of shape \(4, 5\) must be \(B, C, \*S\)$"):
        dice_loss(torch.ones(4, 5), torch.ones(4, 5))
    with pytest.raises(InputError, match=r"^target of shape \(2, 4\) must be \(2, 3, 4\), as the logits$"):
        dice_loss(torch.ones(2, 3, 4), torch.ones(2, 4))
    with pytest.raises(InputError, match=r"^smooth=-1 must be at least 0$"):
        dice_loss(torch.ones(2, 1, 4), torch.ones(2, 4), smooth=-1)
