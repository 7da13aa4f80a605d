"""Who stands around a position: against loops, and a search among them against a sort in Python."""

from itertools import product

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import Neighbors, select
from convnn.ops.surroundings import around, nearest_around
from pairwise import sweep


def in_loops(size: tuple[int, ...], reach: int, *, faces: bool, periodic: bool) -> list[list[int]]:
    """The list of each position, without those beyond the border."""
    places = [*product(*map(range, size))]
    number = {place: i for i, place in enumerate(places)}
    lists = []
    for place in places:
        own = []
        for offset in product(range(-reach, reach + 1), repeat=len(size)):
            other = tuple(i + d for i, d in zip(place, offset, strict=True))
            if periodic:
                other = tuple(i % n for i, n in zip(other, size, strict=True))
            if other in number and (not faces or len(size) - offset.count(0) <= 1):
                own.append(number[other])
        lists.append(own)
    return lists


def present(neighbors: Neighbors) -> list[list[int]]:
    indices, _, absent = neighbors
    absent = torch.zeros_like(indices, dtype=torch.bool) if absent is None else absent
    return [row[~gone].tolist() for row, gone in zip(indices[0], absent[0], strict=True)]


@sweep(size=[(3, 4, 5), (1, 2, 3), (6, 3), (7,)], reach=[1, 2, 3], faces=[False, True], periodic=[False, True])
def test_lists_are_those_of_the_definition(size: tuple[int, ...], reach: int, faces: bool, periodic: bool) -> None:
    found = around(size, reach, faces=faces, periodic=periodic)
    assert present(found) == in_loops(size, reach, faces=faces, periodic=periodic)
    assert 0 <= found.indices.min() <= found.indices.max() < torch.Size(size).numel()


def test_numbers_of_neighbours_are_the_published() -> None:
    assert [around((8, 8, 8), reach).K - 1 for reach in (1, 2, 3)] == [26, 124, 342]
    assert around((8, 8, 8), faces=True).K - 1 == 6


def in_python(x: Tensor, lists: list[list[int]], K: int, metric: str) -> list[list[int]]:
    """Itself, and then the most similar of each list."""
    scores = {
        "euclidean": lambda a, b: -float(((a - b) ** 2).sum()),
        "cosine": lambda a, b: float(a @ b / a.norm() / b.norm()),
        "matmul": lambda a, b: float(a @ b),
    }[metric]
    return [
        [i, *sorted((j for j in own if j != i), key=lambda j, i=i: -scores(x[i], x[j]))[: K - 1]]
        for i, own in enumerate(lists)
    ]


@pytest.mark.parametrize(("metric", "K"), [("euclidean", 6), ("euclidean", 1), ("cosine", 8), ("matmul", 5)])
def test_a_search_among_them_is_a_sort(metric: str, K: int) -> None:
    x = torch.randn(2, 60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    found = nearest_around(x, around((3, 4, 5)), K, metric=metric)
    lists = in_loops((3, 4, 5), 1, faces=False, periodic=False)
    assert [one.tolist() for one in found.indices] == [in_python(rows, lists, K, metric) for rows in x]


def test_far_enough_it_is_the_search_among_all() -> None:
    x = torch.randn(1, 24, 5, generator=torch.Generator().manual_seed(1))
    everywhere = select.nearest(x, x, 7, metric="euclidean", positions=torch.arange(24))
    assert torch.equal(nearest_around(x, around((2, 3, 4), 3), 7).indices, everywhere.indices)


def test_the_choice_has_no_gradient() -> None:
    x = torch.randn(1, 8, 2, requires_grad=True)
    assert not nearest_around(x, around((2, 2, 2)), 3).indices.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: around((3, 3), 0), "^reach=0 must be an integer of at least 1$"),
        (lambda: around(()), r"^size=\(\) must be at least one number, each of at least 1$"),
        (lambda: around((3, 0)), r"^size=\(3, 0\) must be at least one number, each of at least 1$"),
        (
            lambda: nearest_around(torch.ones(1, 27, 2), around((3, 3, 3)), 9),
            "^K=9 must lie between 1 and 8, the positions of the shortest list, at a corner$",
        ),
        (lambda: nearest_around(torch.ones(1, 27, 2), around((3, 3, 3)), 2, metric="far"), "^metric='far' is not one"),
        (lambda: nearest_around(torch.ones(1, 8, 2), around((3, 3, 3)), 2), "neighbors"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
