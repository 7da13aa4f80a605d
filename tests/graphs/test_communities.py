"""Communities: networkx's modularity, the definition in loops, draws, the cases that published code turns into NaN."""

import math

import networkx
import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.communities import (
    communal_attribute_voting,
    communal_edge_dropping,
    communal_edge_scores,
    community_strength,
    louvain_communities,
)
from small_graphs import features, undirected

EDGES = undirected(9, 16)
COMMUNITY = torch.tensor([0, 0, 1, 1, 1, 2, 2, 0, 1])


def modularity(edges: Tensor, weights: Tensor) -> float:
    graph = networkx.Graph()
    graph.add_nodes_from(range(9))
    graph.add_weighted_edges_from((*edge, w) for edge, w in zip(edges.T.tolist(), weights.tolist(), strict=True))
    parts = [set((COMMUNITY == c).nonzero().flatten().tolist()) for c in range(3)]
    return networkx.community.modularity(graph, parts)


def test_strengths_add_up_to_the_modularity() -> None:
    loop = torch.cat([EDGES, torch.tensor([[4], [4]])], 1)
    half = torch.rand(16, dtype=torch.double)
    for edges, weights in ((EDGES, torch.ones(32)), (loop, torch.cat([half, half, torch.tensor([0.7])]))):
        of_communities, of_nodes = community_strength(edges, COMMUNITY, weights.double())
        assert of_communities.sum().item() == pytest.approx(modularity(edges, weights), abs=1e-15)
        assert torch.equal(of_nodes, of_communities[COMMUNITY])
    plain = community_strength(EDGES, COMMUNITY)
    assert torch.equal(plain[0], community_strength(EDGES[:, :16], COMMUNITY)[0])  # in one direction
    assert torch.equal(plain[0], community_strength(EDGES.repeat(1, 2), COMMUNITY)[0])
    assert community_strength(EDGES, torch.arange(9))[0].max() < 0  # each node alone


def test_scores_and_probabilities_are_those_of_the_definition() -> None:
    strength = torch.tensor([0.3, -0.1, 0.2], dtype=torch.double)
    raw = []
    for u, v in EDGES.T.tolist():
        cu, cv = int(COMMUNITY[u]), int(COMMUNITY[v])
        raw.append(strength[cu].item() if cu == cv else -(strength[cu] + strength[cv]).item())
    expected = [(a - min(raw)) / (max(raw) - min(raw)) for a in raw]
    score = communal_edge_scores(EDGES, COMMUNITY, strength)
    assert score.tolist() == pytest.approx(expected)
    mean = sum(expected) / len(expected)
    for p, threshold in ((0.3, 1.0), (0.6, 0.5)):
        edges, kept, probability = communal_edge_dropping(EDGES, score, p, threshold)
        wanted = [min(max(a / mean * (1 - p), 1 - threshold), 1) for a in expected]
        assert probability.tolist() == pytest.approx(wanted)
        assert torch.equal(edges, EDGES[:, kept])


def test_edges_are_kept_as_often_as_they_should_be() -> None:
    score = torch.linspace(0.2, 1, 16, dtype=torch.double).repeat(2)
    generator = torch.Generator().manual_seed(0)
    views = [communal_edge_dropping(EDGES, score, 0.4, generator=generator) for _ in range(500)]
    shares = torch.stack([view.kept for view in views]).double().mean(0)
    torch.testing.assert_close(shares, views[0].probability, rtol=0, atol=0.1)
    assert any(not torch.equal(*view.kept.view(2, 16)) for view in views)  # the directions are drawn apart
    both = communal_edge_dropping(EDGES, score, 0.4, undirected=True, generator=generator)
    assert torch.equal(*both.kept.view(2, 16))


def test_votes_are_those_of_the_definition() -> None:
    x, strength = features(9, 5), torch.rand(9, dtype=torch.double)
    x[:, 2] = 0
    votes = [sum(abs(x[i, f].item()) * strength[i].item() for i in range(9)) for f in range(5)]
    logs = [math.log(v or max(votes)) for v in votes]
    raw = [(max(logs) - one) / (max(logs) - min(logs)) for one in logs]
    wanted = [min(d / (sum(raw) / 5) * 0.3, 0.7) for d in raw]
    view = communal_attribute_voting(x, strength, 0.3)
    assert view.probability.tolist() == pytest.approx(wanted)
    assert view.probability[2] == 0
    generator = torch.Generator().manual_seed(0)
    views = [communal_attribute_voting(x, strength, 0.3, generator=generator).x for _ in range(500)]
    gone = torch.stack([(one == 0).all(0) for one in views]).double().mean(0)
    torch.testing.assert_close(gone[[0, 1, 3, 4]], view.probability[[0, 1, 3, 4]], rtol=0, atol=0.1)
    full = x[:, [0, 1, 3, 4]]
    one, other = (communal_attribute_voting(full, strength, 0.3, dense=dense) for dense in (True, False))
    assert torch.equal(one.probability, other.probability)


def test_what_is_not_a_number_in_the_published_code() -> None:
    alone = torch.zeros(9, dtype=torch.long)
    score = communal_edge_scores(EDGES, alone, torch.tensor([0.0]))
    assert communal_edge_dropping(EDGES, score, 0.3).probability.tolist() == pytest.approx([0.7] * 32)
    same = torch.ones(4, 3)
    assert communal_attribute_voting(same, torch.ones(4), 0.3).probability.tolist() == pytest.approx([0.3] * 3)
    same[:, 1] = 0
    dense = communal_attribute_voting(same, torch.ones(4), 0.3, dense=True).probability
    assert dense.tolist() == pytest.approx([0, 0.7, 0])
    votes = torch.tensor([[1.0, 0, 2], [0, 1, 2]])  # the second feature has a negative one
    negative = communal_attribute_voting(votes, torch.tensor([0.5, -0.2]), 0.3).probability
    assert negative.tolist() == pytest.approx([0, 0.7, 0], abs=0.01)


SCORE, STRENGTH = torch.ones(32), torch.ones(9)
WRONG = {
    "community": (
        lambda: community_strength(EDGES, COMMUNITY.double()),
        r"^community of shape \(9,\) and torch.float64",
    ),
    "short": (lambda: community_strength(EDGES, COMMUNITY[:5]), "^edge_index has sources from 0 to 8; they must lie"),
    "gap": (
        lambda: community_strength(EDGES, 2 * COMMUNITY),
        "^community must have a node of each from 0 to K - 1, and",
    ),
    "none": (lambda: community_strength(EDGES, COMMUNITY - 1), "^community has -1; each node must have one of 0 to K"),
    "empty": (lambda: community_strength(EDGES[:, :0], COMMUNITY), r"^edge_index of shape \(2, 0\) must have at least"),
    "weight": (lambda: community_strength(EDGES, COMMUNITY, -SCORE), "^edge_weight must be finite and at least 0, and"),
    "nan": (
        lambda: communal_edge_scores(EDGES, COMMUNITY, torch.full((3,), math.nan)),
        r"^strength of shape \(3,\) must be \(3,\) and finite, one for each community$",
    ),
    "p": (lambda: communal_edge_dropping(EDGES, SCORE, 1.0), "^p=1.0 must be at least 0 and less than 1$"),
    "threshold": (lambda: communal_edge_dropping(EDGES, SCORE, 0.1, 0), "^threshold=0 must be above 0 and at most 1$"),
    "score": (lambda: communal_edge_dropping(EDGES, -SCORE, 0.1), r"^score of shape \(32,\) must be \(32,\), finite"),
    "cap": (
        lambda: communal_attribute_voting(features(9, 2), STRENGTH, 0.1, 1.5),
        "^cap=1.5 must be above 0 and at most 1$",
    ),
    "features": (lambda: communal_attribute_voting(STRENGTH, STRENGTH, 0.1), r"^x of shape \(9,\) and torch.float32"),
    "nodes": (
        lambda: communal_attribute_voting(features(8, 2), STRENGTH, 0.1),
        r"^strength of shape \(9,\) must be \(8,\) and finite, one for each node$",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_louvain_finds_cliques_that_one_edge_joins() -> None:
    clique = torch.combinations(torch.arange(5)).T
    edges = torch.cat([clique, clique + 5, torch.tensor([[0], [5]])], 1)
    found = louvain_communities(edges, 11)
    assert [len(set(part.tolist())) for part in found.split([5, 5, 1])] == [1, 1, 1]
    assert sorted(found.unique().tolist()) == [0, 1, 2]
    assert torch.equal(found, louvain_communities(torch.cat([edges, edges.flip(0)], 1), 11))
    with pytest.raises(InputError, match="edge_index"):
        louvain_communities(edges, 9)
