"""Subgraphs that are drawn, their tokens, and the network that reads them."""

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.tasks.knowledge import Retriever, SubgraphReader, subgraph_tokens

NODES, RELATIONS = 12, 3


@pytest.fixture
def triples() -> Tensor:
    """A graph of which the last entity has no edge."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(n, (25,), generator=generator) for n in (NODES - 1, RELATIONS, NODES - 1)], dim=1)


def reader(**settings) -> SubgraphReader:
    torch.manual_seed(0)
    made = SubgraphReader(NODES, RELATIONS, dim=8, heads=2, layers=2, intermediate=12, cross_layers=1, **settings)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.double().eval()


def test_a_subgraph_is_a_tree_around_its_entity(triples: Tensor) -> None:
    retriever = Retriever(triples, NODES, generator=torch.Generator().manual_seed(1))
    for center in range(NODES - 1):
        edges = retriever.bfs(center, size=6, n=3).tolist()
        assert len(edges) <= 6
        reached = {center}
        for edge in edges:
            ends = {int(triples[edge, 0]), int(triples[edge, 2])}
            assert len(ends & reached) == 1  # one new entity for each edge
            reached |= ends
        assert len(edges) == len(reached) - 1
        near = set(retriever.one_hop(center, 4).tolist())
        assert len(near) <= 4
        assert all(center in (int(triples[edge, 0]), int(triples[edge, 2])) for edge in near)
    assert retriever.bfs(NODES - 1, 6, 3).tolist() == retriever.one_hop(NODES - 1, 6).tolist() == []


def test_the_draws_decide(triples: Tensor) -> None:
    small = torch.tensor([[0, 0, 1], [1, 0, 2], [3, 1, 0]])
    asked: list[tuple[int, int]] = []

    def last(length: int, count: int) -> list[int]:
        asked.append((length, count))
        return [length - 1] * count

    assert Retriever(small, 4, draw=last).bfs(0, 5, 2).tolist() == [2]  # 3 -> 0; entity 3 has that edge alone
    assert asked == [(2, 2), (1, 1)]
    assert Retriever(small, 4, draw=lambda _, count: list(range(count))).bfs(0, 5, 2).tolist() == [0, 2, 1]


def test_without_replacement_every_triple_of_an_entity_can_come_once(triples: Tensor) -> None:
    center = int(triples[0, 0])
    own = [number for number, (head, _, tail) in enumerate(triples.tolist()) if center in (head, tail) and head != tail]
    retriever = Retriever(triples, NODES, replace=False, generator=torch.Generator().manual_seed(0))
    loops = [number for number, (head, _, tail) in enumerate(triples.tolist()) if center == head == tail]
    assert set(retriever.one_hop(center, 25).tolist()) == {*own, *loops}
    others = {int(triples[edge, 0]) + int(triples[edge, 2]) - center for edge in own}
    found = triples[retriever.bfs(center, 25, 25)]
    assert others <= set(found.flatten().tolist())


def test_dropout_of_what_goes_in_and_of_what_comes_out_differ(triples: Tensor) -> None:
    center, relation = triples[:1, 0], torch.tensor([0])
    tokens = subgraph_tokens([triples[:5]], center, NODES, RELATIONS)
    for first, last in ((0.5, 0.0), (0.0, 0.5), (0.0, 0.0)):
        network = reader(dropout=0.0, input_dropout=first, output_dropout=last, query_layers=1).train()
        assert len(network.query_blocks) == 1
        both = [network(tokens, center, relation) for _ in range(2)]
        assert torch.equal(*both) == (first == last)
        assert (network._read(tokens) == network._read(tokens)).all() == (first == 0)


def test_the_mask_is_the_incidence_of_the_edges() -> None:
    edges = torch.tensor([[4, 1, 2], [7, 0, 4], [4, 2, 4]])
    tokens = subgraph_tokens([edges, edges[:1], edges[:0]], torch.tensor([4, 2, 9]), NODES, RELATIONS)
    assert tokens.ids.tolist() == [[4, 2, 7, 1, 0, 2], [2, 4, NODES, 1, RELATIONS, RELATIONS], [9, 12, 12, 3, 3, 3]]
    assert tokens.is_padding.tolist() == [[False] * 6, [False, False, True, False, True, True], [False, *[True] * 5]]
    assert tokens.mask[0, :3, 3:].tolist() == [[True, True, True], [True, False, False], [False, True, False]]
    assert tokens.mask.equal(tokens.mask.transpose(1, 2))
    full = subgraph_tokens([edges, edges[:1]], torch.tensor([4, 2]), NODES, RELATIONS, graph=False)
    assert full.mask[0].all()
    assert full.mask[1].equal((~full.is_padding[1])[:, None] & ~full.is_padding[1])


def test_a_query_does_not_depend_on_its_batch_unless_published(triples: Tensor) -> None:
    edges, centers = [triples[:6], triples[6:8]], torch.tensor([int(triples[0, 0]), int(triples[6, 0])])
    relation = torch.tensor([0, 2])
    together = subgraph_tokens(edges, centers, NODES, RELATIONS)
    alone = subgraph_tokens(edges[1:], centers[1:], NODES, RELATIONS)
    for mask_padding in (True, False):
        network = reader(mask_padding=mask_padding)
        both = network(together, centers, relation)
        assert both.shape == (2, NODES + 1)
        difference = (both[1] - network(alone, centers[1:], relation[1:])[0]).abs().max().item()
        assert (difference < 1e-12) == mask_padding
        with torch.no_grad():  # the fast path of PyTorch
            assert network(together, centers, relation).isfinite().all() or not mask_padding


def test_it_reads_the_graph_and_the_relation(triples: Tensor) -> None:
    network, center = reader(), triples[:1, 0]
    tokens = subgraph_tokens([triples[:5]], center, NODES, RELATIONS)
    first = network(tokens, center, torch.tensor([0]))
    assert not torch.allclose(first, network(tokens, center, torch.tensor([1])))
    assert not torch.allclose(
        first, network(tokens._replace(mask=torch.ones_like(tokens.mask)), center, torch.tensor([0]))
    )
    for name, slope in zip(
        dict(network.named_parameters()),
        torch.autograd.grad(first.square().sum(), list(network.parameters()), allow_unused=True),
        strict=True,
    ):
        assert slope is not None, name


EDGES = torch.tensor([[0, 0, 1]])
CENTER = torch.tensor([0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Retriever(EDGES, 2).bfs(2, 1, 1), "center=2"),
        (lambda: Retriever(EDGES, 2).bfs(0, 0, 1), "size=0"),
        (lambda: Retriever(EDGES, 2).bfs(0, 1, 0), "n=0"),
        (lambda: Retriever(EDGES[:, :2], 2), "triples of shape"),
        (lambda: subgraph_tokens([EDGES[:, :2]], CENTER, 2, 1), "edges of shape"),
        (lambda: subgraph_tokens([EDGES + 5], CENTER, 2, 1), "edges has entities"),
        (lambda: subgraph_tokens([EDGES], CENTER + 2, 2, 1), "centers="),
        (lambda: subgraph_tokens([EDGES, EDGES], CENTER, 2, 1), "2 subgraphs"),
        (lambda: SubgraphReader(2, 1, dim=8, heads=3), "heads=3 must divide dim=8"),
        (lambda: reader()(subgraph_tokens([EDGES], CENTER, NODES, 1), CENTER, CENTER + RELATIONS), "relation="),
        (lambda: reader()(subgraph_tokens([EDGES], CENTER, NODES, 1), CENTER + NODES, CENTER), "center="),
        (
            lambda: reader()(
                subgraph_tokens([EDGES], CENTER, 2, 1)._replace(mask=torch.ones(1, 2, 3) > 0), CENTER, CENTER
            ),
            "mask of shape",
        ),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
