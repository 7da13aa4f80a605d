"""The graph that views agree upon: relaxed draws, straight-through gradients, priors and PageRank, in other words."""

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, RelaxedBernoulli, kl_divergence

from convnn.errors import InputError
from convnn.graphs.build import GraphGenerator, pagerank_view
from convnn.graphs.build.consensus import (
    bernoulli_divergence,
    chosen_edges,
    concrete_sigmoid,
    published_divergence,
    view_prior,
)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def graph(nodes: int, seed: int = 0) -> Tensor:
    upper = (uniform(nodes, nodes, seed=seed) < 0.4).double().triu(1)
    return upper + upper.T


def test_scores_have_rows_of_length_one_and_dead_nodes_none() -> None:
    torch.manual_seed(0)
    model, x = GraphGenerator(4, 5, 3, dropout=0.0).double(), uniform(9, 4)
    with torch.no_grad():
        model.encode[4].bias -= 0.4
    scores, rebuilt = model(x)
    h = model.encode(x).relu()
    k = h @ model.mix
    for i in range(9):
        row = torch.stack([k[i] @ h[j] for j in range(9)])
        torch.testing.assert_close(scores[i], row / row.norm() if row.any() else row)
    torch.testing.assert_close(rebuilt, model.decode(k).sigmoid())
    is_dead = ~h.any(1)
    assert is_dead.any()
    assert not scores[is_dead].any()
    assert torch.equal(model.hard(scores)[is_dead], torch.eye(9, dtype=torch.float64)[is_dead]), "loops alone"
    model.threshold = 0.74
    assert torch.equal(model.hard(scores), torch.eye(9, dtype=torch.float64)), "no score is above 1"


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_relaxed_draws_are_those_of_torch(temperature: float) -> None:
    scores, noise = (uniform(6, 6) - 0.5).requires_grad_(), uniform(6, 6, seed=1)
    torch.manual_seed(0)
    theirs = RelaxedBernoulli(torch.tensor(temperature).double(), logits=scores).rsample()
    torch.manual_seed(0)
    ours = concrete_sigmoid(scores, temperature, torch.rand(6, 6, dtype=torch.float64))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # which keeps u away from 0 in another way
    assert torch.equal(concrete_sigmoid(scores, temperature), scores.sigmoid())
    assert torch.autograd.gradcheck(lambda s: concrete_sigmoid(s, temperature, noise), scores)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert concrete_sigmoid(ends, temperature, ends).isfinite().all()


def test_chosen_edges_have_the_gradient_of_their_probabilities() -> None:
    probable = uniform(5, 5).requires_grad_()
    shares, upstream = chosen_edges(probable, 0.6), uniform(5, 5, seed=1)
    chosen = (probable > 0.6).double() + torch.eye(5)
    assert chosen.max() == 2, "a node that chooses itself"
    torch.testing.assert_close(shares, chosen / chosen.sum(1, keepdim=True))
    (found,) = torch.autograd.grad(shares, probable, upstream)
    torch.testing.assert_close(found, upstream / chosen.sum(1, keepdim=True))


def test_prior_and_divergences() -> None:
    graphs, beliefs = [graph(6), graph(6, 1) + torch.eye(6)], torch.tensor([0.9, 0.75], dtype=torch.float64)
    prior = view_prior(graphs, beliefs)
    for i in range(6):
        for j in range(6):
            terms = [b * a[i, j] + (1 - b) * (1 - a[i, j] + (i == j)) for a, b in zip(graphs, beliefs, strict=True)]
            torch.testing.assert_close(prior[i, j], sum(terms) / beliefs.sum())
    soft = uniform(6, 6, seed=2).requires_grad_()
    share = prior.clamp(1e-6, 1 - 1e-6)
    expected = kl_divergence(Bernoulli(soft), Bernoulli(share)).mean()
    found = bernoulli_divergence(soft, prior)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(*(torch.autograd.grad(one, soft) for one in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)
    of_entropy = Bernoulli(soft).entropy().mean()
    published = published_divergence(soft, prior, beliefs)
    torch.testing.assert_close(published, of_entropy - prior.log().mean())
    (ours,), (theirs,) = (torch.autograd.grad(one, soft) for one in (published, of_entropy))
    torch.testing.assert_close(ours, theirs)  # so that the prior teaches nothing


def test_pagerank_is_that_of_networkx() -> None:
    """On the symmetrically normalised graph with loops: the walk of networkx, between roots of degrees."""
    adjacency = graph(8) + torch.eye(8).roll(1, 0) + torch.eye(8).roll(-1, 0)
    adjacency = (adjacency > 0).double()
    ranks, view = pagerank_view(adjacency, restart=0.2, threshold=0.1)
    looped = adjacency + torch.eye(8)
    walk, roots = nx.from_numpy_array(looped.numpy()), looped.sum(1).sqrt()
    for i in range(8):
        of_node = nx.pagerank(walk, alpha=0.8, personalization={i: 1}, tol=1e-14, max_iter=1000)
        row = torch.tensor([of_node[j] for j in range(8)], dtype=torch.float64)
        torch.testing.assert_close(ranks[i] * roots / roots[i], row, rtol=0, atol=1e-10)
    assert torch.equal(view, (ranks > 0.1).double())
    assert 0 < view.mean() < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GraphGenerator(0), "in_channels=0"),
        (lambda: GraphGenerator(2, temperature=0), "temperature=0"),
        (lambda: GraphGenerator(2, threshold=1), "threshold=1"),
        (lambda: GraphGenerator(2, threshold=0), "threshold=0"),
        (lambda: GraphGenerator(2, dropout=1), "dropout=1"),
        (lambda: GraphGenerator(2, 3, 3)(torch.ones(4, 3)), r"x of shape \(4, 3\) must be \(N, 2\)"),
        (lambda: pagerank_view(torch.ones(2, 3)), r"adjacency of shape \(2, 3\)"),
        (lambda: pagerank_view(torch.ones(2, 2), restart=0), "restart=0"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
