"""Team-up: pytorch-metric-learning's loss without strengths, the published form in loops with them, and training."""

import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.objectives.contrastive import CSGCLLoss, kernel_info_nce, team_up_gamma, team_up_loss
from small_graphs import features


def loss_in_loops(h1: Tensor, h2: Tensor, strength: Tensor, gamma: float, tau: float) -> float:
    """Return the published form, in which the strength of the query counts too."""
    views, total = [h / h.norm(dim=1, keepdim=True) for h in (h1, h2)], 0.0
    for a, b in (views, views[::-1]):

        def e(u: Tensor, v: Tensor, i: int, j: int) -> float:
            return math.exp((u[i] @ v[j] + gamma * strength[j] + gamma * strength[i]).item() / tau)

        for i in range(len(a)):
            across = sum(e(a, b, i, j) for j in range(len(a)))
            within = sum(e(a, a, i, j) for j in range(len(a)) if j != i)
            total -= math.log(e(a, b, i, i) / (across + within)) / (2 * len(a))
    return total


@pytest.mark.parametrize("gamma", [0.0, 0.7, 5.0])
def test_it_is_the_published_loss(gamma: float) -> None:
    h1, h2 = features(6, 4), features(6, 4, seed=2)
    strength = features(6, 1, seed=3).squeeze(1) / 5
    for rows in (None, 4):
        ours = team_up_loss(h1, h2, strength, gamma, 0.4, rows=rows)
        assert ours.item() == pytest.approx(loss_in_loops(h1, h2, strength, gamma, 0.4), abs=1e-13)


def test_without_strengths_it_is_infonce() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    h = features(12, 4).requires_grad_()
    ours = team_up_loss(h[:6], h[6:], torch.ones(6), 0.0, 0.3)
    theirs = losses.NTXentLoss(temperature=0.3)(h, torch.arange(6).repeat(2))
    unit = torch.nn.functional.normalize(h, dim=1)
    gauss = kernel_info_nce(unit[:6], unit[6:], temperature=0.6)
    for other in (theirs, gauss, team_up_loss(h[:6], h[6:], torch.ones(6), 3.0, 0.3)):  # equal strengths cancel
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-14)
        slopes = [torch.autograd.grad(loss, h, retain_graph=True)[0] for loss in (ours, other)]
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-14)


def test_strengths_begin_to_count_late() -> None:
    assert [team_up_gamma(epoch, 100, 2.0) for epoch in (0, 100, 150, 200, 300, 900)] == [0, 0, 0.5, 1, 2, 2]
    scheme = CSGCLLoss(4, torch.rand(6), 3, start=10, largest=2.0)
    assert [tuple(p.shape) for p in scheme.parameters()] == [(3, 4), (3,), (4, 3), (4,)]
    z = torch.randn(2, 6, 4)
    early, late = scheme(*z, 10), scheme(*z, 400)
    assert tuple(early) == scheme.terms
    assert early["contrast"] == team_up_loss(*map(scheme.head, z), scheme.node_strength, 0.0)
    assert late["contrast"] == team_up_loss(*map(scheme.head, z), scheme.node_strength, 2.0)


def test_it_trains() -> None:
    scheme, encoder, x = CSGCLLoss(4, torch.rand(20), start=5), torch.nn.Linear(5, 4), torch.randn(20, 5)
    optimizer = torch.optim.Adam([*encoder.parameters(), *scheme.parameters()], 0.02)
    losses = []
    for epoch in range(40):
        views = (encoder(x + 0.1 * torch.randn_like(x)) for _ in range(2))
        (loss,) = scheme(*views, epoch).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.5


H, S = torch.randn(4, 3), torch.ones(4)
WRONG = {
    "shapes": (lambda: team_up_loss(H, H[:3], S), r"^h1 of shape \(4, 3\) and h2 of shape \(3, 3\) must both be \(B,"),
    "one": (lambda: team_up_loss(H[:1], H[:1], S[:1]), "must both be .* with B at least 2$"),
    "tau": (lambda: team_up_loss(H, H, S, tau=0), "^tau=0 must be a positive number$"),
    "strength": (lambda: team_up_loss(H, H, S[:3]), r"^node_strength of shape \(3,\) must be \(4,\) and finite, one"),
    "nan": (lambda: team_up_loss(H, H, S * math.nan), r"^node_strength of shape \(4,\) must be \(4,\) and finite"),
    "of the scheme": (lambda: CSGCLLoss(3, S, tau=-1), "^tau=-1 must be a positive number$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
