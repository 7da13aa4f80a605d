"""Readers as networks: the tokens of statements and of neighbours, and the subgraphs that are drawn."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import create_model
from convnn.models.readers.networks import Trees, board_shape
from convnn.models.readers.statements import MASK, PAD, SPECIALS, statement_loss
from convnn.models.readers.tokens import Neighbors, Vocabulary, distinct, qualifier_tokens
from convnn.nn.triples import Queries

ENTITIES, RELATIONS = 6, 3
FACTS = torch.tensor(
    [[0, 0, 1, 2, 3, -1, -1], [0, 1, 2, -1, -1, -1, -1], [2, 0, 0, 1, 4, 2, 3], [3, 0, 4, -1, -1, -1, -1]]
)
"""Statements of which none is about entity 5."""


def asked(of_tail: list[bool], rows: Tensor = FACTS) -> Queries:
    return Queries(rows[:, :3], torch.tensor(of_tail), qualifiers=rows[:, 3:], facts=FACTS)


def tokens_in_loops(row: list[int], of_tail: bool) -> list[int]:
    head, relation, tail, *qualifiers = row

    def token(number: int) -> int:
        return SPECIALS + ENTITIES + 2 * number + (not of_tail)

    found = [SPECIALS + (head if of_tail else tail), token(relation), MASK]
    for place in range(0, len(qualifiers), 2):
        has = qualifiers[place] >= 0
        found += [token(qualifiers[place]), SPECIALS + qualifiers[place + 1]] if has else [PAD, PAD]
    return found


def statement_network(**settings) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"d_hidden": 8, "d_mlp": 12, "num_layers": 1, "board_channels": 2, "dropout": 0.0} | settings
    return create_model("statement_reader", in_channels=RELATIONS, num_classes=ENTITIES, **sizes).double()


def subgraph_network(**settings) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"d_hidden": 8, "d_mlp": 12, "num_heads": 2, "num_layers": 1, "dropout": 0.0} | settings
    network = create_model("subgraph_reader", in_channels=RELATIONS, num_classes=ENTITIES, **sizes).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network


def test_tokens_are_those_of_loops() -> None:
    for of_tail in ([True] * 4, [False] * 4, [True, False, False, True]):
        found = Vocabulary(ENTITIES).statements(asked(of_tail)).tolist()
        assert found == [tokens_in_loops(*pair) for pair in zip(FACTS.tolist(), of_tail, strict=True)]
    plain = Vocabulary(ENTITIES).statements(asked([True] * 4)._replace(qualifiers=None))
    assert plain.tolist() == [tokens_in_loops(row[:3], True) for row in FACTS.tolist()]


def test_neighbours_state_something_about_what_stands_first() -> None:
    torch.manual_seed(0)
    neighbors = Neighbors(FACTS, Vocabulary(ENTITIES))
    for entity in range(ENTITIES):
        about = [tokens_in_loops(row, False) for row in FACTS.tolist() if row[0] == entity]
        about += [tokens_in_loops(row, True) for row in FACTS.tolist() if row[2] == entity]
        alone = [[SPECIALS + entity, 4, MASK, PAD, PAD, PAD, PAD]]
        drawn = neighbors.draw(torch.full((40,), SPECIALS + entity), 3)
        for one in drawn.transpose(0, 1).tolist():
            assert all(statement in (about or alone) for statement in one)
            assert len(set(map(tuple, one))) == min(3, len(about or alone))
        assert {tuple(one) for part in drawn.tolist() for one in part} == set(map(tuple, about or alone))


def test_places_do_not_repeat_before_all_have_come_and_are_equally_likely() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([1, 2, 3, 5]).repeat(4000)
    places = distinct(lengths, 3)
    for length in (1, 2, 3, 5):
        rows = places[lengths == length]
        assert all(len(set(row)) == min(length, 3) for row in rows[:500].tolist())
        assert 0 <= int(rows.min()) <= int(rows.max()) == length - 1
        shares = torch.stack([torch.bincount(column, minlength=length) for column in rows.T]) / len(rows)
        torch.testing.assert_close(shares, torch.full_like(shares, 1 / length), atol=0.04, rtol=0)


def test_qualifiers_stand_alone() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[7, 13, 1, 17, 9, 0, 0], [8, 13, 1, 0, 0, 0, 0], [8, 13, 1, 15, 9, 17, 10]])
    found = qualifier_tokens(ids)
    assert found[:, 0].tolist() == [[17, 9, 1]] * 2
    assert found[:, 1].tolist() == [[5, 6, 1]] * 2
    assert found[:, 2].tolist() == [[15, 9, 1], [17, 10, 1]]
    assert qualifier_tokens(ids[:, :3]).tolist() == [[[5, 6, 1]] * 3]
    many = qualifier_tokens(torch.tensor([[7, 13, 1, 15, 8, 17, 9, 0, 0]] * 200))
    assert {tuple(pair) for pair in many[2].tolist()} == {(15, 8, 1), (17, 9, 1)}


def test_scores_are_those_of_the_statement_alone_without_what_fits_too() -> None:
    network = statement_network(mlp_experts=3).eval()
    queries = asked([True, False, True, True])
    ids = Vocabulary(ENTITIES).statements(queries)
    expected = network.reader.score(ids)
    assert network(queries).equal(expected)
    fits = torch.tensor([[0, 3], [2, 5]])
    found = network(queries._replace(others=fits))
    assert found[tuple(fits)].tolist() == [torch.finfo(torch.double).min] * 2
    found[tuple(fits)] = expected[tuple(fits)]
    assert found.equal(expected)
    order = queries._replace(qualifiers=torch.cat([FACTS[:, 5:], FACTS[:, 3:5]], 1))
    torch.testing.assert_close(network(order), expected)  # attention knows no places


def test_the_loss_is_that_of_the_statement_of_neighbours_and_mixed() -> None:
    queries = asked([True, False, True, False])
    network = statement_network(neighbor_statements=2).train()
    torch.manual_seed(3)
    loss, scores = network.learn(queries, 0.2)
    torch.manual_seed(3)
    ids = Vocabulary(ENTITIES).statements(queries)
    contexts = Neighbors(FACTS, Vocabulary(ENTITIES)).draw(ids[:, 0], 2)
    found = network.reader(ids, contexts, qualifier_tokens(ids))
    assert loss.item() == pytest.approx(statement_loss(found, queries.wanted, queries.known, 0.2).item())
    torch.testing.assert_close(scores, network.reader.score(ids))
    alone, _ = statement_network(neighbor_statements=0).learn(queries, 0.0)
    wanted = queries.wanted + SPECIALS
    assert alone.item() == pytest.approx(F.cross_entropy(statement_network().reader.read(ids), wanted).item())


def test_a_subgraph_is_the_same_for_all_in_evaluation_and_lacks_what_is_asked_in_training() -> None:
    triples = FACTS[:, :3]
    trees = Trees(FACTS, ENTITIES, size=3, draws=2)
    state = torch.get_rng_state()
    assert trees.of(0, triples[0]).equal(Trees(FACTS, ENTITIES, 3, 2).of(0, triples[1]))
    assert torch.get_rng_state().equal(state)
    sets = {tuple(map(tuple, trees.without(0, triples[0]).tolist())) for _ in range(40)}
    assert all((0, 0, 1) not in found for found in sets)
    assert any((0, 1, 2) in found for found in sets)
    assert trees.of(5, triples[0]).shape == (0, 3)


def test_scores_of_a_subgraph_do_not_depend_on_the_batch_or_on_chance() -> None:
    network = subgraph_network(subgraph_size=3, subgraph_draws=2).eval()
    queries = asked([True, False, True, False])
    found = network(queries)
    assert found.shape == (4, ENTITIES)
    for place in range(4):
        one = Queries(*(part[place : place + 1] for part in queries[:2]), facts=FACTS)
        torch.testing.assert_close(network(one)[0], found[place])
    assert not torch.allclose(found, network(queries._replace(facts=None)))
    backwards = network(queries._replace(of_tail=~queries.of_tail, triples=queries.triples.flip(1)))
    assert not torch.allclose(found, backwards)  # the same entity is known; the relation has another direction


@pytest.mark.parametrize("make", [statement_network, subgraph_network])
def test_every_parameter_learns(make) -> None:
    network = make().train()
    loss, _ = network.learn(asked([True, False, True, False]), 0.1)
    names = [name for name, _ in network.named_parameters()]
    slopes = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert [name for name, slope in zip(names, slopes, strict=True) if slope is None] == []


def test_a_board_is_as_square_as_it_can_be() -> None:
    assert [board_shape(channels) for channels in (64, 400, 12, 7)] == [(8, 8), (20, 20), (3, 4), (1, 7)]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statement_network(num_heads=3), "heads=3 must divide 8"),
        (lambda: statement_network(mlp_experts=2, top_experts=3), "top_k=3 must be at most 2"),
        (lambda: statement_network(board_kernel=2), "kernel=2"),
        (lambda: statement_network(neighbor_statements=-1), "neighbor_statements=-1"),
        (lambda: subgraph_network(num_heads=3), "heads=3 must divide dim=8"),
        (lambda: subgraph_network(subgraph_size=0), "subgraph_size=0"),
        (lambda: create_model("subgraph_reader", "SparseRows"), "is built of layers that read triples: Attention"),
        (lambda: statement_network()(asked([True] * 4)._replace(qualifiers=FACTS[:, 3:6])), "qualifiers of shape"),
        (lambda: statement_network()(asked([True] * 4)._replace(qualifiers=FACTS[:, 3:] + 3)), "relation below 3"),
        (lambda: statement_network()(asked([True] * 4)._replace(triples=FACTS[:, :3] + 3)), "triples has"),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
