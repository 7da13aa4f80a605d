"""Walks that halt: against loops over the numbers, and against powers of the matrix."""

import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.halting import HaltingWalks, Visits
from convnn.ops.ragged import Lists
from convnn.ops.walks import Recorded, Stream

KINDS = {
    "plain": {},
    "bounded": {"max_length": 2},
    "antithetic": {"antithetic": True},
    "reinforced": {"reinforcement": lambda k: math.exp(-k)},
    "reinforced pairs": {"antithetic": True, "reinforcement": lambda k: 1 / (1 + k)},
}


def matrix() -> Tensor:
    """Return U (7, 7), symmetric, signed, with a self-loop, two components and a node without edges."""
    u = torch.zeros(7, 7, dtype=torch.float64)
    for i, j, weight in ((0, 1, 0.3), (1, 2, 0.2), (0, 2, -0.1), (2, 3, 0.25), (3, 3, 0.1), (4, 5, 0.4)):
        u[i, j] = u[j, i] = weight
    return u


def walker(u: Tensor, **settings: object) -> HaltingWalks:
    rows, columns = u.nonzero().T.contiguous()
    starts = torch.nn.functional.pad(rows.bincount(minlength=len(u)).cumsum(0), (1, 0))
    return HaltingWalks(Lists(starts, columns, len(u)), u[rows, columns], **settings)


def by_loops(u: Tensor, nodes: list[int], walks: int, p: float, numbers: list[float], **settings) -> dict:
    """Return node, load and probability by walk and step, one number after the other."""
    place, found = iter(numbers), {}
    together, most = 2 if settings.get("antithetic") else 1, settings.get("max_length")
    f = settings.get("reinforcement") or (lambda k: 1)
    directions: dict[int, list[float]] = {walk: [] for walk in range(len(nodes) * walks)}
    for first in range(0, len(nodes) * walks, together):
        going = set(range(first, first + together))
        while going:
            halt = next(place)
            going -= {walk for walk in going if (halt + (walk - first) / 2) % 1 <= p}
            drawn = [next(place) for _ in range(together)] if going else []
            for walk in going:
                directions[walk].append(drawn[walk - first])
    used: dict[tuple, int] = {}
    for walk, numbers in directions.items():
        at, load = nodes[walk // walks], 1.0
        found[walk, 0] = (at, 1.0, 1.0)
        for step, number in enumerate(numbers[:most]):
            near = u[at].nonzero().flatten().tolist()
            if not near:
                break
            counts = [f(used.get((walk // walks, at, to), 0)) for to in near]
            chances = [count / sum(counts) for count in counts]
            sums = [sum(chances[: i + 1]) for i in range(len(near))]
            chosen = next((i for i, each in enumerate(sums) if each > number), len(near) - 1)
            to = near[chosen]
            used[walk // walks, at, to] = used.get((walk // walks, at, to), 0) + 1
            load *= float(u[at, to]) / (chances[chosen] * (1 - p))
            at = to
            found[walk, step + 1] = (at, load, chances[chosen])
    return found


def as_dict(visits: Visits) -> dict:
    walk, step, node, load, q = (each.tolist() for each in visits)
    found = {(w, t): (v, one, chance) for w, t, v, one, chance in zip(walk, step, node, load, q, strict=True)}
    assert len(found) == len(walk)
    return found


@pytest.mark.parametrize("p", [0.2, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_walks_are_those_of_loops(kind: str, p: float) -> None:
    u, nodes, numbers = matrix(), [3, 0, 6, 5, 2, 1], Stream(3).uniform(3000)
    found = as_dict(walker(u, p_halt=p, **KINDS[kind])(torch.tensor(nodes), 6, Recorded(numbers)))
    expected = by_loops(u, nodes, 6, p, numbers.tolist(), **KINDS[kind])
    assert found.keys() == expected.keys()
    for key, (node, load, chance) in expected.items():
        assert found[key][0] == node
        assert found[key][1:] == pytest.approx((load, chance), rel=1e-12)


@pytest.mark.parametrize("kind", ["plain", "antithetic", "reinforced"])
def test_mean_loads_are_powers_of_the_matrix(kind: str) -> None:
    """Over the walks of many copies of the graph; one row of copies is one start for reinforcement."""
    u, copies, walks = matrix(), 1500, 4
    visits = walker(u, p_halt=0.3, **KINDS[kind])(torch.arange(7).repeat(copies), walks, 1)
    start = visits.walk // walks % 7
    for power in range(4):
        some = visits.step == power
        sums = torch.zeros(7, 7, dtype=torch.float64)
        sums.index_put_((start[some], visits.node[some]), visits.load[some], accumulate=True)
        expected = u.matrix_power(power)
        torch.testing.assert_close(sums / (copies * walks), expected, rtol=0, atol=0.02)


def test_pairs_halt_early_and_late() -> None:
    visits = walker(matrix(), p_halt=0.4, antithetic=True)(torch.arange(4), 200, 0)
    lengths = torch.zeros(800, dtype=torch.long).scatter_reduce(0, visits.walk, visits.step, "amax").view(-1, 2)
    assert not (lengths == 0).all(1).any()  # at most one of a pair halts at a number, for p below a half
    assert (lengths == 0).double().mean().item() == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("kind", ["plain", "antithetic"])
def test_numbers_are_taken_to_the_last_walk(kind: str) -> None:
    """Parts of the walks read on where those before ended, which is where the recorded numbers may end."""
    walks = walker(matrix(), p_halt=0.02, **KINDS[kind])  # long ones: more numbers than were first thought
    stream = Stream(7)
    whole = as_dict(walks(torch.arange(4), 2, stream))
    numbers = Stream(7).uniform(stream.position)
    recorded = Recorded(numbers)
    parts = [as_dict(walks(torch.arange(2 * i, 2 * i + 2), 2, recorded)) for i in range(2)]
    assert whole == parts[0] | {(walk + 4, step): value for (walk, step), value in parts[1].items()}
    with pytest.raises(InputError, match=r"numbers end after \d+, in walk [67] of 8"):
        walks(torch.arange(4), 2, Recorded(numbers[:-1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p_halt": 0.0}, r"p_halt=0.0 must be above 0 and below 1"),
        ({"p_halt": 1}, "p_halt=1 must"),
        ({"p_halt": math.nan}, "p_halt=nan must"),
        ({"p_halt": "often"}, "p_halt='often' must"),
        ({"max_length": -1}, "max_length=-1"),
        ({"antithetic": True}, "walks=3 must be even"),
        ({"reinforcement": lambda k: 1 - k}, r"reinforcement\(1\) is 0.0, and must be positive"),
        ({"reinforcement": lambda k: math.nan}, r"reinforcement\(0\) is nan"),
    ],
)
def test_bad_input(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        walker(matrix(), **settings)(torch.arange(3), 3)
    with pytest.raises(InputError, match="walks=0"):
        walker(matrix())(torch.arange(3), 0)
    with pytest.raises(InputError, match="numbers must be at least 0 and below 1"):
        walker(matrix())(torch.arange(3), 1, Recorded(torch.full((3,), -0.5, dtype=torch.float64)))
    with pytest.raises(InputError, match=r"values of shape \(2,\)"):
        HaltingWalks(walker(matrix()).lists, torch.ones(2))
    with pytest.raises(InputError, match="must be among the same nodes"):
        HaltingWalks(Lists(torch.tensor([0, 1]), torch.tensor([1]), 2), torch.ones(1))
