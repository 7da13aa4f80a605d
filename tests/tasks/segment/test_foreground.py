"""Foreground of any class: against a convolution, the decision pixel by pixel, and bad input."""

import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.tasks.segment.foreground import ForegroundPerception, conditional_bias_argmax


def test_the_context_is_a_bias_of_each_image() -> None:
    torch.manual_seed(0)
    branch, x = ForegroundPerception(3, 5).double(), torch.randn(2, 3, 1, 4, dtype=torch.double)
    for one, found in zip(x, branch(x), strict=True):
        bias = branch.local.bias + branch.context(one.mean((1, 2)))
        hidden = F.conv2d(one[None], branch.local.weight, bias, padding=1).relu()
        torch.testing.assert_close(
            found, torch.einsum("c,chw->hw", branch.out.weight.flatten(), hidden[0]) + branch.out.bias
        )
    assert sum(p.numel() for p in branch.parameters()) == 9 * 3 * 5 + 5 + 3 * 5 + 5 + 5 + 1


@pytest.mark.parametrize(("beta", "threshold"), [(1.5, 0.5), (0.0, 0.5), (3.0, 1.1), (2.0, 0.0)])
def test_classes_are_decided_pixel_by_pixel(beta: float, threshold: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, foreground = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 4, 5, generator=generator)
    found = conditional_bias_argmax(logits, foreground, beta, threshold)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(5)).tolist():
        scores = logits[b, :, i, j].tolist()
        scores[0] -= beta if float(foreground[b, i, j].sigmoid()) >= threshold else 0
        assert found[b, i, j] == scores.index(max(scores))
    if beta == 0 or threshold > 1:
        assert torch.equal(found, logits.argmax(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conditional_bias_argmax(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3)), "foreground of shape (1, 3)"),
        (lambda: conditional_bias_argmax(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3), -1.0), "beta=-1.0 must"),
        (lambda: ForegroundPerception(0, 3), "channels=0 must be an integer of at least 1"),
        (lambda: ForegroundPerception(3, 0), "hidden=0 must be an integer of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()
