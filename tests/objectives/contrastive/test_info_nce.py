"""InfoNCE by kernels: the losses of other libraries, the trace of a Laplacian, and the equalities of its definition."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives.contrastive import (
    ArcCosine,
    Cosine,
    Distance,
    InfoNCE,
    info_nce,
    kernel_info_nce,
    similarity_info_nce,
    spectral_contrast,
)


def views(count: int = 16, width: int = 8, *, unit: bool = True) -> tuple[Tensor, Tensor]:
    z = torch.randn(2 * count, width, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    z1, z2 = (F.normalize(z, dim=1) if unit else z).split(count)
    return z1.requires_grad_(), z2.requires_grad_()


def same(ours: Tensor, theirs: Tensor, z: tuple[Tensor, ...], atol: float = 1e-14) -> None:
    """Check that two losses agree, and all their gradients."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    for one, other in zip(*(torch.autograd.grad(loss, z, retain_graph=True) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=10 * atol)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 2.0])
def test_gaussian_is_infonce_by_cosine_at_half_the_temperature(temperature: float) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    leaves = views(unit=False)
    z1, z2 = (F.normalize(leaf, dim=1) for leaf in leaves)  # off the sphere their slopes differ
    z, labels = torch.cat([z1, z2]), torch.arange(16).repeat(2)
    ours = kernel_info_nce(z1, z2, temperature=temperature)
    same(ours, losses.NTXentLoss(temperature=temperature / 2)(z, labels), leaves)
    logits = (2 * z @ z.mT / temperature).fill_diagonal_(-math.inf)
    same(ours, F.cross_entropy(logits, torch.arange(32).roll(16)), leaves)
    same(ours, info_nce(z1, z2, Cosine(temperature / 2)), leaves)


def test_published_eps_is_near() -> None:
    z1, z2 = views()
    for temperature, distance in ((0.1, 1e-2), (0.5, 1e-5), (1.0, 1e-5), (2.0, 1e-6)):
        exact, published = (kernel_info_nce(z1, z2, temperature=temperature, eps=eps) for eps in (0.0, 1e-6))
        assert 0 < published - exact < distance


def test_far_rows_lose_their_repulsion_by_eps_alone() -> None:
    z1 = torch.tensor([[1.0, 0], [-1, 0]], dtype=torch.double, requires_grad=True)
    z2 = torch.tensor([[0.0, 1], [0, -1]], dtype=torch.double)
    for eps, repelled in ((1e-6, False), (0.0, True)):
        loss = kernel_info_nce(z1, z2, temperature=0.05, eps=eps) - kernel_info_nce(z1, z2, temperature=0.05).detach()
        (slope,) = torch.autograd.grad(loss, z1)
        pull = (z1 - z2).detach() / 0.05  # of half a row, twice, over two objects
        assert torch.allclose(slope, pull) is not repelled


def test_attraction_is_the_trace_of_the_laplacian() -> None:
    z1, z2 = views(unit=False)
    z, count, temperature = torch.cat([z1, z2]), 16, 0.7
    graph = torch.eye(32, dtype=torch.double).roll(count, 0)
    laplacian = graph.sum(1).diag() - graph
    scores = -torch.cdist(z, z).square() / temperature
    repulsion = scores.masked_fill(torch.eye(32, dtype=torch.bool), -math.inf).logsumexp(1).mean()
    trace = (z.mT @ laplacian @ z).trace() / (count * temperature)
    same(kernel_info_nce(z1, z2, temperature=temperature), trace + repulsion, (z1, z2), atol=1e-12)


def test_similarities_of_partners_are_infonce_and_others_a_laplacian() -> None:
    z1, z2 = views(unit=False)
    z, partners = torch.cat([z1, z2]), torch.eye(32, dtype=torch.double).roll(16, 0)
    for gamma, p in ((2.0, 2.0), (1.0, 1.0), (0.5, 2.0)):
        settings = {"temperature": 0.6, "gamma": gamma, "p": p}
        ours = similarity_info_nce(z, 3 * partners, **settings, rows=5)
        same(ours, kernel_info_nce(z1, z2, **settings), (z1, z2), atol=1e-12)
    ring = torch.eye(32, dtype=torch.double)
    ring = 2 * ring.roll(1, 0) + 2 * ring.roll(-1, 0) + 9 * ring  # the diagonal does not count
    laplacian = 4 * torch.eye(32, dtype=torch.double) - ring.clone().fill_diagonal_(0)
    repulsion = similarity_info_nce(z, torch.zeros(32, 32, dtype=torch.double), temperature=0.6)
    trace = 2 * (z.mT @ laplacian @ z).trace() / (32 * 0.6 * 4)
    same(similarity_info_nce(z, ring, temperature=0.6), trace + repulsion, (z1, z2), atol=1e-12)


def test_mixtures_of_one_kernel_are_that_kernel() -> None:
    z = views(6, 6)
    plain = kernel_info_nce(*z, gamma=1.0)
    for mixture in ("sum", "kernel"):
        same(kernel_info_nce(*z, gamma=1.0, mixture=mixture, weight=1.0), plain, z)
        same(kernel_info_nce(*z, mixture=mixture, weight=0.3), kernel_info_nce(*z), z)
        other = kernel_info_nce(*z, gamma=1.0, mixture=mixture, weight=0.0, second_temperature=0.3)
        same(other, kernel_info_nce(*z, temperature=0.3), z)
    halves = [
        kernel_info_nce(a, b, gamma=g) for a, b, g in zip(*(one.chunk(2, 1) for one in z), (1.0, 2.0), strict=True)
    ]
    same(kernel_info_nce(*z, gamma=1.0, mixture="concat", weight=1.0), halves[0], z)
    same(kernel_info_nce(*z, gamma=1.0, mixture="concat", weight=0.3), 0.3 * halves[0] + 0.7 * halves[1], z)


def test_a_bank_holds_all_negatives() -> None:
    z1, z2 = views(4)
    bank = torch.randn(9, 8, dtype=torch.double, requires_grad=True)
    sums = torch.tensor([sum(math.exp(-math.dist(q, m) / 0.3) for m in bank.tolist()) for q in z1.tolist()]).double()
    expected = ((z1 - z2).norm(dim=1) / 0.3 + sums.log()).mean().item()
    ours = kernel_info_nce(z1, z2, bank=bank, temperature=0.3, gamma=1.0)
    assert ours.item() == pytest.approx(expected, abs=1e-6)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(ours, (z1, z2, bank)))
    parts = [kernel_info_nce(z1, z2, bank=bank, gamma=g, temperature=t) for g, t in ((1.0, 0.3), (2.0, 0.6))]
    mixed = kernel_info_nce(
        z1, z2, bank=bank, gamma=1.0, temperature=0.3, second_temperature=0.6, mixture="sum", weight=0.2
    )
    same(mixed, 0.2 * parts[0] + 0.8 * parts[1], (z1, z2, bank))
    concat = kernel_info_nce(z1, z2, bank=bank, mixture="concat", weight=0.0)
    same(concat, kernel_info_nce(z1[:, 4:], z2[:, 4:], bank=bank[:, 4:]), (z1, z2, bank))


def test_squares_repel_in_the_spectral_loss() -> None:
    z1, z2 = views(5, unit=False)
    z, total = torch.cat([z1, z2]), 0.0
    for i in range(10):
        total += sum((z[i] @ z[k]) ** 2 for k in range(10) if k != i)
    expected = total / (5 * 4) - 2 / 5 * (z1 * z2).sum()
    same(spectral_contrast(z1, z2), expected, (z1, z2), atol=1e-11)
    orthogonal = torch.eye(4, dtype=torch.double)[:2], torch.eye(4, dtype=torch.double)[2:]
    assert spectral_contrast(*orthogonal, eps=0.5).item() == pytest.approx(4 * 0.5 / 2)


def test_arc_cosine_kernels_are_finite_on_the_sphere() -> None:
    for order in (1, 2, 3):
        z = views(5)
        loss = info_nce(*z, ArcCosine(order, 0.5))
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, z))
        far = info_nce(z[0], z[0], ArcCosine(order, 0.5))
        assert far < loss  # equal views are the closest


def test_nearest_negatives() -> None:
    z = views(20)
    whole = info_nce(*z, Distance(0.2, 1.0))
    same(info_nce(*z, Distance(0.2, 1.0), negatives=38), whole, z, atol=1e-13)
    losses = [info_nce(*z, Distance(0.2, 1.0), negatives=count).item() for count in (1, 5, 20)]
    assert losses == sorted(losses)
    assert losses[-1] < whole.item() < losses[-1] + 0.1
    assert info_nce(*z, Distance(0.2, 1.0), negatives=5, method="clustered").isfinite()
    both = torch.cat(z)
    scores = (-torch.cdist(both, both) / 0.2).fill_diagonal_(-math.inf)
    partner = torch.arange(40).roll(20)
    positive = scores.gather(1, partner[:, None])
    kept = scores.scatter(1, partner[:, None], -math.inf).topk(5, 1).values
    expected = (torch.cat([positive, kept], 1).logsumexp(1) - positive.squeeze(1)).mean()
    same(info_nce(*z, Distance(0.2, 1.0), negatives=5), expected, z, atol=1e-12)


def test_module_projects_onto_a_sphere_and_trains() -> None:
    module = InfoNCE(6, 4, 16, mu=0.8, norm=1.0, mixture="concat", gamma=1.0, weight=0.5)
    assert sum(p.numel() for p in module.parameters()) == 6 * 16 + 16 + 2 * 16 + 16 * 4
    h = torch.randn(12, 6)
    torch.testing.assert_close(module.project(h).abs().sum(1), torch.full((12,), math.sqrt(0.8)))
    encoder = nn.Linear(6, 6)
    optimizer = torch.optim.Adam([*encoder.parameters(), *module.parameters()], 1e-2)
    losses = []
    for _ in range(30):
        terms = module(encoder(h), encoder(h + 0.1 * torch.randn_like(h)))
        optimizer.zero_grad()
        terms["contrast"].backward()
        optimizer.step()
        losses.append(terms["contrast"].item())
    assert list(terms) == ["contrast"]
    assert sum(losses[-5:]) < sum(losses[:5]) - 1


WRONG = {
    "shapes": ({"z2": torch.ones(4, 7)}, r"^z1 of shape \(4, 8\) and z2 of shape \(4, 7\) must both be \(B, d\), with"),
    "one": ({"z1": torch.ones(1, 8), "z2": torch.ones(1, 8)}, r"^z1 of shape \(1, 8\) and .* with B at least 2$"),
    "flat": ({"z1": torch.ones(8)}, r"^z1 of shape \(8,\) and torch.float32 must be floating and \(N, d\)$"),
    "temperature": ({"temperature": 0.0}, "^temperature=0.0 must be a positive number$"),
    "second": ({"second_temperature": -1.0}, "^temperature=-1.0 must be a positive number$"),
    "gamma": ({"gamma": 0.0}, "^gamma=0.0 must be a positive number$"),
    "p": ({"p": 0.5}, "^p=0.5 must be at least 1, for a norm$"),
    "weight": ({"weight": 1.1}, "^weight=1.1 must lie between 0 and 1$"),
    "eps": ({"eps": -1.0}, "^eps=-1.0 must be at least 0$"),
    "mixture": ({"mixture": "product"}, "^mixture='product' is not one of sum, concat, kernel"),
    "odd": ({"mixture": "concat", "z1": torch.ones(4, 7)}, "^rows of 7 columns must have an even number of them with"),
    "bank": ({"bank": torch.ones(3, 7)}, r"^keys of shape \(3, 7\) must be \(M, 8\), as wide as the queries$"),
    "both": ({"bank": torch.ones(3, 8), "negatives": 2}, "^negatives=2 must be None with a bank, whose rows are the"),
    "many": ({"negatives": 7}, "^negatives=7 must be at most 6, the number of other rows$"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernel_info_nce(**({"z1": torch.ones(4, 8), "z2": torch.ones(4, 8)} | wrong))


def test_bad_input_of_the_others() -> None:
    with pytest.raises(InputError, match=r"^weight of shape \(3, 3\) must be \(4, 4\), for each query and each key$"):
        similarity_info_nce(torch.randn(4, 2), torch.ones(3, 3))
    with pytest.raises(InputError, match=r"^weight has entries that are negative or NaN"):
        similarity_info_nce(torch.randn(4, 2), -torch.ones(4, 4))
    with pytest.raises(InputError, match=r"^mu=0 must be a positive number$"):
        InfoNCE(4, mu=0)
