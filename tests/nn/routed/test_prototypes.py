"""Kernels updated by prototypes: against convolutions and loops, classes that are absent or new, and bad input."""

import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import PrototypicalKernelHead, novel_kernel, prototype_loss


def _head(stages: int = 1, **more: Any) -> tuple[PrototypicalKernelHead, torch.Tensor]:
    torch.manual_seed(0)
    return PrototypicalKernelHead(4, 3, stages=stages, **more).double(), torch.randn(2, 4, 3, 5, dtype=torch.double)


@pytest.mark.parametrize("scale", [0.5, 10.0])
def test_without_update_it_is_a_convolution_of_directions(scale: float) -> None:
    head, x = _head(0, scale=scale)
    x.requires_grad_()
    wanted = F.conv2d(F.normalize(x, dim=1), scale * F.normalize(head.weight, dim=1)[:, :, None, None])
    found = head(x).logits
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad(y, (x, head.weight), upstream) for y in (found, wanted))
    torch.testing.assert_close(ours, theirs)


def test_kernels_are_what_a_loop_over_pixels_and_classes_finds() -> None:
    head, x = _head()
    kernels = torch.zeros(2, 3, 4, dtype=torch.double)
    with torch.no_grad():
        for b in range(2):
            pixels = [x[b, :, i, j] for i in range(3) for j in range(5)]
            shares = [
                torch.stack([10 * F.cosine_similarity(w, p, dim=0) for w in head.weight]).softmax(0) for p in pixels
            ]
            for k, w in enumerate(head.weight):
                mass = sum(share[k] for share in shares)
                mean = sum(share[k] * p for share, p in zip(shares, pixels, strict=True)) / (mass + 1e-6)
                gate = head.gate[0](mean * w).sigmoid()
                kernels[b, k] = gate * mean + (1 - gate) * w
    torch.testing.assert_close(head(x).kernels, kernels)


def test_a_closed_gate_leaves_the_kernels_and_an_open_one_replaces_them() -> None:
    head, x = _head()
    label = torch.arange(3).repeat(2, 5, 1).mT
    with torch.no_grad():
        head.gate[0].weight.zero_()
        head.gate[0].bias.fill_(-1e3)
        torch.testing.assert_close(head(x).logits, head(x).initial)
        head.gate[0].bias.fill_(1e3)
    torch.testing.assert_close(head(x, label).kernels, x.mean(3).mT, rtol=1e-5, atol=0)  # a row of pixels each


def test_an_absent_class_keeps_its_kernel_and_ignored_pixels_claim_nothing() -> None:
    head, x = _head()
    label = torch.full((2, 3, 5), -1)
    label[0, 0, :2] = 1
    kernels = head(x, label).kernels
    assert torch.equal(kernels[0, 0], head.weight[0])
    assert torch.equal(kernels[1], head.weight)
    assert not torch.equal(kernels[0, 1], head.weight[1])
    changed = x.clone()
    changed[0, :, 1:] += 1
    assert torch.equal(head(changed, label).kernels, kernels)


def test_new_classes_come_last_and_change_nothing_else() -> None:
    head, x = _head(2)
    novel = torch.randn(2, 4, dtype=torch.double)
    more, without = head(x, novel=novel), head(x)
    torch.testing.assert_close(more.logits[:, :3], without.logits)
    assert torch.equal(more.kernels[:, 3:], novel.expand(2, -1, -1))
    torch.testing.assert_close(
        more.logits[:, 3:], 10 * torch.stack([F.cosine_similarity(x, w[:, None, None], dim=1) for w in novel], 1)
    )


def test_the_kernel_of_a_new_class_is_the_mean_of_marked_pixels_as_long_as_the_others() -> None:
    features, base = torch.randn(2, 4, 3, 3, dtype=torch.double), torch.randn(3, 4, dtype=torch.double)
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[0, 1, 1] = mask[1, 0, :2] = True
    kernel = novel_kernel(features, mask, base)
    mean = (features[0, :, 1, 1] + features[1, :, 0, :2].mean(1)) / 2
    torch.testing.assert_close(kernel, F.normalize(mean, dim=0) * base.norm(dim=1).mean(), rtol=1e-5, atol=0)


def test_a_pixel_without_features_has_the_cosine_zero_and_a_finite_gradient() -> None:
    head, x = _head()
    x[0, :, 0, 0] = 0
    x.requires_grad_()
    found = head(x)
    assert (found.logits[0, :, 0, 0] == 0).all()
    found.logits.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_it_learns() -> None:
    head, _ = _head()
    label = torch.randint(3, (4, 6, 6), generator=torch.Generator().manual_seed(1))
    x = (F.one_hot(label, 4).double() + 0.1).permute(0, 3, 1, 2)
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        prototype_loss(head(x), label).backward()
        optimizer.step()
    assert (head(x).logits.argmax(1) == label).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda head, x: head(x[0]), "features of shape (4, 3, 5) must be (B, 4, H, W)"),
        (lambda head, x: head(x, torch.zeros(2, 5, 3, dtype=torch.long)), "label of shape (2, 5, 3) and torch.int64"),
        (lambda head, x: head(x, torch.full((2, 3, 5), 3)), "label from 3 to 3 must lie between -1 and 2"),
        (lambda head, x: head(x, torch.full((2, 3, 5), -2)), "label from -2 to -2 must lie between -1 and 2"),
        (lambda head, x: head(x, novel=torch.zeros(1, 3)), "novel of shape (1, 3) must be (new, 4)"),
        (lambda head, x: prototype_loss(head(x), torch.full((2, 3, 5), -1)), "label must have a pixel"),
        (lambda head, x: PrototypicalKernelHead(4, 3, scale=0.0), "scale=0.0 must be a positive number"),
        (lambda head, x: PrototypicalKernelHead(4, 3, stages=-1), "stages=-1 must be an integer of at least 0"),
        (lambda head, x: novel_kernel(x, torch.zeros(2, 3, 5), head.weight), "mask of image 0 is empty"),
        (lambda head, x: novel_kernel(x, torch.ones(3, 5), head.weight), "mask of shape (3, 5) must be (n, H, W)"),
        (
            lambda head, x: novel_kernel(x, torch.ones(2, 3, 5), torch.zeros(3, 5)),
            "base of shape (3, 5) must be (K, 4)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(*_head())
