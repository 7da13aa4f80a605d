"""Triples by a sparse product, their scores, and the networks that rank all entities by them."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from convnn.errors import InputError
from convnn.models import create_model
from convnn.models.translation import Translation
from convnn.nn.triples import Queries, toruse, transe, transh, transr
from convnn.objectives.triples import corrupt, head_shares, margin_loss
from convnn.ops.triples import gather, incidence

NODES, RELATIONS, DIM = 7, 3, 5
MODELS = [
    ("transe", {"dissimilarity": "L1"}),
    ("transe", {"dissimilarity": "L2"}),
    ("transh", {}),
    ("transr", {"relation_dim": 4}),
    ("toruse", {"dissimilarity": "L1"}),
    ("toruse", {"dissimilarity": "eL2"}),
]


@pytest.fixture
def triples() -> Tensor:
    """Some triples, of which one leads from an entity to itself."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(NODES, (2, 12), generator=generator)
    ends[1, 3] = ends[0, 3]
    return torch.stack([ends[0], torch.randint(RELATIONS, (12,), generator=generator), ends[1]], dim=1)


def network(name: str, settings: dict, layer: str | None = None) -> Translation:
    """Return a network in float64, with embeddings that are not of length 1."""
    torch.manual_seed(0)
    made = create_model(name, layer, in_channels=RELATIONS, num_classes=NODES, d_hidden=DIM, **settings).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("relations", [RELATIONS, None])
def test_the_product_is_what_gathering_gives_with_all_gradients(triples: Tensor, relations: int | None) -> None:
    table = torch.randn(NODES + (relations or 0), DIM, dtype=torch.double, requires_grad=True)
    both = [incidence(triples, NODES, relations).product(table), gather(table, triples, NODES, relations)]
    upstream = torch.randn_like(both[0])
    slopes = [torch.autograd.grad(z, table, upstream)[0] for z in both]
    torch.testing.assert_close(*both, rtol=0, atol=1e-12)
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)
    head, relation, tail = triples[3].tolist()
    assert head == tail
    alone = torch.zeros(DIM, dtype=torch.double) if relations is None else table[NODES + relation]
    torch.testing.assert_close(both[0][3], alone, rtol=0, atol=1e-12)
    assert gradcheck(lambda t: incidence(triples, NODES, relations).product(t), table, fast_mode=True)


def test_the_product_keeps_no_copies_of_the_rows(triples: Tensor) -> None:
    table = torch.randn(NODES + RELATIONS, 64, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        incidence(triples.repeat(10, 1), NODES, RELATIONS).product(table)
    assert not [t for t in kept if t.is_floating_point() and t.shape[-1:] == (64,) and t.shape[0] > len(table)]


def test_a_square_distance_is_that_of_pyg(triples: Tensor) -> None:
    kge = pytest.importorskip("torch_geometric.nn.kge")
    ours = network("transe", {"dissimilarity": "L2"})
    ours.normalise()
    theirs = kge.TransE(NODES, RELATIONS, DIM, p_norm=2.0).double()
    entities, relations = ours.table.detach().split([NODES, RELATIONS])
    theirs.node_emb.weight.data, theirs.rel_emb.weight.data = entities, relations
    torch.testing.assert_close(ours.score(triples), -theirs(*triples.T).square())


@pytest.mark.parametrize(("name", "settings"), MODELS)
@pytest.mark.parametrize("layer", ["SparseRows", "GatheredRows"])
def test_all_entities_rank_as_the_triples_with_each_of_them(name: str, settings: dict, layer: str, triples) -> None:
    ours = network(name, settings, layer).eval()
    of_tail = torch.arange(12) % 2 == 0
    logits = ours(Queries(triples, of_tail))
    for entity in range(NODES):
        replaced = triples.clone()
        replaced[of_tail, 2] = entity
        replaced[~of_tail, 0] = entity
        torch.testing.assert_close(logits[:, entity], ours.score(replaced))


def test_what_fits_too_is_left_out_of_a_ranking(triples: Tensor) -> None:
    ours = network("transe", {}).eval()
    of_tail = torch.ones(12, dtype=torch.bool)
    others = torch.tensor([[0, 5], [1, 2]])
    free, filtered = ours(Queries(triples, of_tail)), ours(Queries(triples, of_tail, others))
    assert (filtered[tuple(others)] == torch.finfo(torch.double).min).all()
    assert ((free != filtered).nonzero() == others.T).all()


def test_scores_by_hand() -> None:
    z = torch.tensor([1.0, -2.0])
    assert (transe(z, 1), transe(z, 2)) == (-9, -5)
    normal = torch.tensor([0.6, 0.8])
    plane = z - (0.6 - 1.6) * normal
    assert transh(z, torch.ones(2), normal) == pytest.approx(-float((plane + 1).square().sum()))
    assert transr(z, torch.ones(1), torch.tensor([[2.0, 1.0]])) == -1
    beyond = torch.tensor([1.7, -0.8])  # .3 and .2 away from the nearest whole number
    found = [toruse(beyond, kind).item() for kind in ("L1", "L2", "eL2")]
    circle = (2 - math.cos(2 * math.pi * 0.3) - math.cos(2 * math.pi * 0.2)) / 2
    assert found == pytest.approx([-1.0, -4 * 0.13, -circle], abs=1e-5)


def test_a_wrong_end_is_of_any_entity_and_where_it_is_surely_wrong() -> None:
    triples = torch.tensor([[0, 0, 5], [1, 0, 5], [2, 0, 5], [3, 1, 6], [3, 1, 4]])
    shares = head_shares(triples, NODES, RELATIONS)
    torch.testing.assert_close(shares, torch.tensor([0.25, 2 / 3, 0.5], dtype=torch.double))
    many, generator = triples[:1].repeat(4000, 1), torch.Generator().manual_seed(0)
    wrong = corrupt(many, NODES, shares, generator)
    changed = wrong != many
    assert not (changed[:, 0] & changed[:, 2]).any()
    assert not changed[:, 1].any()
    assert changed[:, 0].double().mean().item() == pytest.approx(0.25 * 6 / 7, abs=0.02)
    assert set(wrong[:, 2].tolist()) == set(wrong[:, 0].tolist()) == set(range(NODES))  # entity 0 too


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: incidence(t[:, :2], NODES, RELATIONS), "triples of shape"),
        (lambda t: incidence(t[:0], NODES, RELATIONS), "at least one row"),
        (lambda t: incidence(t + 20, NODES, RELATIONS), "entities from"),
        (lambda t: incidence(t, NODES, 1), "relations from"),
        (lambda t: incidence(t, NODES, 0), "num_relations=0"),
        (lambda t: transe(torch.ones(2), 3), "p_norm=3"),
        (lambda t: toruse(torch.ones(2), "L3"), "dissimilarity='L3'"),
        (lambda t: margin_loss(torch.ones(2), torch.ones(2), -1.0), "margin=-1.0"),
        (lambda t: network("transe", {"dissimilarity": "eL2"}), "dissimilarity='eL2'"),
        (lambda t: network("transr", {"relation_dim": 0}), "relation_dim=0"),
        (lambda t: network("transe", {})(Queries(t, t[:2, 0] > 0)), "of_tail of shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input(call, words: str, triples: Tensor) -> None:
    with pytest.raises(InputError, match=words):
        call(triples)
