"""SCGC: cross entropy for one-hot weights, log-sum-exp for all, DEC's divergence, and training."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives.contrastive import SCGC, Autoencoder, SCGCLoss, clustering_kl, neighbor_contrast
from convnn.ops.centroids import student_t_assignment, target_distribution
from convnn.ops.influence import influence_matrix
from small_graphs import features, undirected


def logits(z: Tensor, tau: float) -> Tensor:
    unit = F.normalize(z, dim=1)
    return tau * (unit @ unit.mT).fill_diagonal_(0)


@pytest.mark.parametrize("tau", [0.25, 1.0, 2.25])
def test_one_neighbour_is_cross_entropy(tau: float) -> None:
    z, target = features(9, 4), torch.arange(9).roll(2)
    expected = F.cross_entropy(logits(z, tau), target)
    weight = F.one_hot(target, 9).double()
    assert neighbor_contrast(z, weight, tau=tau, eps=0).item() == pytest.approx(expected.item(), abs=1e-14)
    published = neighbor_contrast(z, weight, tau=tau)
    assert 1e-9 < expected - published < 1e-6


def test_weights_are_logarithms_in_the_sum() -> None:
    z, weight = features(9, 4).requires_grad_(), torch.rand(9, 9, dtype=torch.double)
    weight[weight < 0.3] = 0
    scores = logits(z, 0.5)
    expected = -((scores + weight.log()).logsumexp(1) - scores.logsumexp(1)).mean()
    for rows in (None, 4):
        ours = neighbor_contrast(z, weight, tau=0.5, eps=0, rows=rows)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)
        slopes = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in (ours, expected)]
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-14)


def test_a_row_without_neighbours_costs_a_constant() -> None:
    z, weight = features(5, 3).requires_grad_(), torch.zeros(5, 5, dtype=torch.double)
    loss = neighbor_contrast(z, weight)
    assert loss.item() == pytest.approx(-math.log(1e-8), abs=1e-12)
    assert torch.autograd.grad(loss, z)[0].abs().max() == 0
    weight[0, 0] = 1  # an isolated node is only pushed
    slope = torch.autograd.grad(neighbor_contrast(z, weight), z)[0]
    moved = z - 1e-3 * slope
    assert logits(moved, 1.0)[0].sum() < logits(z, 1.0)[0].sum()


def test_zero_rows_are_finite_and_large_weights_negative() -> None:
    z = features(6, 3)
    z[2] = 0
    z.requires_grad_()
    loss = neighbor_contrast(z, 3 * torch.ones(6, 6, dtype=torch.double))
    assert loss.item() == pytest.approx(-math.log(3))
    assert torch.autograd.grad(neighbor_contrast(z, torch.eye(6).double()), z)[0].isfinite().all()


def test_divergence_is_that_of_its_definition() -> None:
    z, centers = features(7, 3), features(4, 3, seed=2).requires_grad_()
    q = student_t_assignment(z, centers, freedom=2.0)
    p = target_distribution(q)
    expected = sum(p[i, k] * (p[i, k].log() - q[i, k].log()) for i in range(7) for k in range(4)) / 7
    ours = clustering_kl(q)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-14)
    slopes = [torch.autograd.grad(loss, centers, retain_graph=True)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-14)


def test_terms_of_the_scheme() -> None:
    x, edges = features(8, 5), undirected(8, 12)
    network = Autoencoder(5, (6,), 3).double()
    assert [tuple(p.shape) for p in network.parameters()] == [(6, 5), (6,), (3, 6), (3,), (6, 3), (6,), (5, 6), (5,)]
    loss = SCGCLoss(3, 3, influence_matrix(edges, 8, dtype=torch.double), alpha=0.0, beta=0.7)
    z, decoded = network(x)
    loss.start(z)
    terms = loss(z, x, decoded)
    assert tuple(terms) == loss.terms
    dec = 0.7 * clustering_kl(student_t_assignment(z, loss.centers)) + F.mse_loss(decoded, x)  # without contrast, DEC's
    torch.testing.assert_close(sum(terms.values()), dec, rtol=0, atol=1e-15)
    assert tuple(loss(z)) == loss.terms[:2]
    assert [name for name, _ in loss.named_parameters()] == list(loss.state_dict()) == ["centers"]
    labels = loss.assign(z).argmax(1)
    means = torch.stack([z[labels == label].mean(0) for label in range(3)])
    torch.testing.assert_close(loss.centers.detach(), means.detach())  # as k-means ends


def test_contrast_brings_the_graph_into_a_perceptron() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(30)
    likely = torch.where(labels == labels.unsqueeze(1), 0.3, 0.02)
    edges = torch.bernoulli(likely, generator=generator).triu(1).nonzero().T
    x = F.one_hot(labels, 3) + 0.9 * torch.randn(90, 3, generator=generator)
    models = [SCGC(3, Autoencoder(3, (16,), 4), epochs=epochs, pretraining=50, lr=1e-2) for epochs in (0, 80)]
    for model in models:
        torch.manual_seed(0)
        model.network = Autoencoder(3, (16,), 4)
        assert model.fit_predict(x, edges).shape == (90,)
        assert torch.equal(model.labels_, model.soft_labels_.argmax(1))
    assert len(models[1].terms_) == 80
    assert models[1].terms_[-1]["contrast"] < models[1].terms_[0]["contrast"] - 0.1

    def within(model: SCGC) -> float:  # how much more alike the embeddings of joined nodes are
        unit = F.normalize(model.embedding_, dim=1)
        return ((unit[edges[0]] * unit[edges[1]]).sum(1).mean() - (unit @ unit.mT).mean()).item()

    assert within(models[1]) > within(models[0]) + 0.1
    again = SCGC(3, epochs=1, pretraining=1, decodes=True)
    assert again.fit(x[:9], edges[:, :0]).embedding_.shape == (9, 10)
    assert list(again.terms_[0]) == ["contrast", "clusters", "reconstruction"]
    assert torch.equal(again.network_(x[:9])[0], again.embedding_)


Z, W = torch.randn(4, 2), torch.ones(4, 4)
X, EDGES = torch.randn(4, 3), torch.tensor([[0, 1], [1, 2]])
WRONG = {
    "square": (lambda: neighbor_contrast(Z, W[:3]), r"^weight of shape \(3, 4\) must be \(4, 4\), for each query and"),
    "negative": (lambda: neighbor_contrast(Z, -W), "^weight has entries that are negative or NaN; all must be at lea"),
    "tau": (lambda: neighbor_contrast(Z, W, tau=0), "^tau=0 must be a positive number$"),
    "eps": (lambda: neighbor_contrast(Z, W, eps=-1), "^eps=-1 must be at least 0$"),
    "flat": (lambda: neighbor_contrast(Z[0], W), r"^z of shape \(2,\) and torch.float32 must be floating and \(N, d"),
    "freedom": (lambda: SCGCLoss(2, 3, W, freedom=0), "^freedom=0 must be a positive number$"),
    "clusters": (lambda: SCGCLoss(5, 3, W), "^n_clusters=5 must be at most 4, the number of nodes$"),
    "none": (lambda: SCGC(0), "^n_clusters=0 must be an integer of at least 1$"),
    "order": (lambda: SCGC(2, order=0), "^order=0 must be an integer of at least 1$"),
    "one way": (
        lambda: SCGC(2, Autoencoder(3, (2,), 2, decodes=False)).fit(X, EDGES),
        "^network must decode for pretraining or decodes=True; give pretraining=0$",
    ),
    "edges": (lambda: SCGC(2).fit(X, EDGES + 2), r"^edge_index has targets from 3 to 4; they must lie"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
