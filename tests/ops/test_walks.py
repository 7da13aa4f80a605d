"""Random walks: numbers known from elsewhere, the law of each step, and the same bits however they are computed."""

import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.ragged import Lists
from convnn.ops.walks import RandomWalks, Recorded, Stream
from threads import thread_counts

KINDS = {
    "equal": {},
    "weights": {"weights": True},
    "node2vec": {"p": 0.5, "q": 4.0},
    "node2vec with weights": {"weights": True, "p": 4.0, "q": 0.25},
}


def graph(nodes: int = 30, edges: int = 150, seed: int = 0) -> tuple[Lists, Tensor]:
    """Return a directed graph, in which some nodes have no neighbours, and weights, some of them 0."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(nodes - 3, (edges,), generator=generator), torch.randint(nodes, (edges,), generator=generator)
    lists, _ = Lists.of_edges(torch.stack(ends).flip(0), nodes)
    weights = torch.rand(edges, dtype=torch.float64, generator=generator) + 0.01
    weights[lists.starts[:-1][lists.lengths > 2]] = 0
    return lists, weights


def walks_of(kind: str, backend: str = "auto") -> RandomWalks:
    lists, weights = graph()
    settings = dict(KINDS[kind])
    return RandomWalks(lists, weights if settings.pop("weights", False) else None, backend=backend, **settings)


def test_numbers_are_those_of_splitmix64() -> None:
    known = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)
    assert Stream(1234567).integers(5).tolist() == [number >> 1 for number in known]
    assert Stream(1234567, 2).uniform(1).item() == (known[2] >> 11) / 2**53
    stream = Stream(1234567)
    assert [stream.integer() for _ in known] == [number >> 1 for number in known]
    assert stream.uniform(2).tolist() == Stream(1234567, 5).uniform(2).tolist()


def test_recorded_numbers_end() -> None:
    stream = Recorded(torch.tensor([3, 2**31 - 1]))
    assert (stream.integer(), stream.uniform(1).item()) == (3, 1.0)
    with pytest.raises(InputError, match="numbers end after 2, and draw 3"):
        stream.integer()
    with pytest.raises(InputError, match="int64"):
        Recorded(torch.rand(3)).integers(1)


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_backend_or_threads(kind: str) -> None:
    nodes = torch.arange(30).repeat(5)
    plain = walks_of(kind, "reference")(nodes, 7, 3)
    for _ in thread_counts():
        torch.testing.assert_close(walks_of(kind)(nodes, 7, 3), plain, rtol=0, atol=0)


def test_integers_take_neighbours_in_turn() -> None:
    lists, _ = graph()
    numbers = Stream(0).integers(30, 4)
    for backend in ("auto", "reference"):
        found = RandomWalks(lists, backend=backend)(torch.arange(30), 4, numbers).tolist()
        for node, walk in enumerate(found):
            at = node
            for number, after in zip(numbers[node].tolist(), walk[1:], strict=True):
                row = lists.indices[lists.starts[at] : lists.starts[at + 1]].tolist()
                at = row[number % len(row)] if row else at
                assert after == at


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_drawn_by_the_running_sum(kind: str) -> None:
    """Against a loop over the weights of the definition of node2vec, with edges looked up in a dense matrix."""
    walks, (lists, _) = walks_of(kind), graph()
    numbers = Stream(5).uniform(30, 6)
    is_edge = torch.zeros(30, 30, dtype=torch.bool)
    is_edge[lists.query_of_each, lists.indices] = True
    for start, walk in enumerate(walks(torch.arange(30), 6, numbers).tolist()):
        assert walk[0] == start
        for step, number in enumerate(numbers[start].tolist()):
            at, row = walk[step], slice(int(lists.starts[walk[step]]), int(lists.starts[walk[step] + 1]))
            near = lists.indices[row].tolist()
            weights = [1.0] * len(near) if walks.weights is None else walks.weights[row].tolist()
            if step and walks.is_second_order:
                before = walk[step - 1]
                weights = [
                    w / walks.p if x == before else w if is_edge[x, before] else w / walks.q
                    for x, w in zip(near, weights, strict=True)
                ]
            if not near:
                assert walk[step + 1] == at
                continue
            left = number * sum(weights)
            place = next(k for k in range(len(near)) if sum(weights[: k + 1]) > left)
            assert walk[step + 1] == near[place]
            assert weights[place] > 0


def test_frequencies_are_the_law() -> None:
    walks = walks_of("weights")
    node = int(walks.lists.lengths.argmax())
    chances = walks.transition(node) / walks.transition(node).sum()
    draws = 20_000
    arrivals = torch.bincount(walks(torch.full((draws,), node), 1, 11)[:, 1], minlength=30)
    row = walks.lists.indices[walks.lists.starts[node] : walks.lists.starts[node + 1]]
    expected = torch.zeros(30, dtype=torch.float64).index_add(0, row, chances)
    assert ((arrivals / draws - expected).abs() < 5 * (expected * (1 - expected) / draws).sqrt() + 1e-12).all()


def test_empty_graphs_and_walks() -> None:
    lists = Lists(torch.zeros(4, dtype=torch.long), torch.empty(0, dtype=torch.long), 3)
    for backend in ("auto", "reference"):
        for weights in (None, torch.empty(0)):
            walks = RandomWalks(lists, weights, backend=backend)
            assert walks(torch.tensor([2, 0]), 3).tolist() == [[2] * 4, [0] * 4]
            assert walks(torch.empty(0, dtype=torch.long), 3).shape == (0, 4)
            assert walks(torch.tensor([1]), 0).tolist() == [[1]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 0.0}, r"p=0\.0 must be a positive number"),
        ({"q": math.nan}, "q=nan"),
        ({"weights": torch.ones(3)}, r"weights of shape \(3,\) must be \(150,\)"),
        ({"weights": -torch.ones(150)}, "at least 0"),
        ({"weights": torch.full((150,), torch.inf)}, "finite"),
        ({"weights": torch.zeros(150)}, "must not all be 0 in a list"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RandomWalks(graph()[0], **settings)


@pytest.mark.parametrize(
    ("nodes", "length", "numbers", "message"),
    [
        (torch.tensor([30]), 2, 0, "must lie between 0 and 29"),
        (torch.tensor([0.5]), 2, 0, "one list of int64"),
        (torch.tensor([0]), -1, 0, "length=-1"),
        (torch.tensor([0]), 2, torch.rand(2, 2).double(), r"must be \(1, 2\)"),
        (torch.tensor([0]), 2, torch.ones(1, 2).double(), "below 1"),
        (torch.tensor([0]), 2, torch.tensor([[0, -1]]), "at least 0"),
    ],
)
def test_bad_calls(nodes: Tensor, length: int, numbers: Tensor | int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        walks_of("equal")(nodes, length, numbers)
    with pytest.raises(InputError, match="equally likely"):
        walks_of("weights")(torch.tensor([0]), 1, torch.tensor([[1]]))
