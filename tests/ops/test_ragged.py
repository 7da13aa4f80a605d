"""Aggregation over lists of any length, against loops, torch_geometric, and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import ragged
from convnn.ops.ragged import Lists

SIZES = (3, 0, 1, 7, 0, 2)
"""Neighbours of each query: some have none, and one has several of the same."""

Operator = Callable[..., Tensor]
OPERATORS: dict[str, tuple[Operator, Callable[[Tensor], Tensor]]] = {
    "total": (ragged.total, lambda rows: rows.sum(0)),
    "mean": (ragged.mean, lambda rows: rows.mean(0)),
    "variance": (ragged.variance, lambda rows: rows.var(0, correction=0)),
    "maximum": (ragged.maximum, lambda rows: rows.max(0).values),
    "minimum": (ragged.minimum, lambda rows: rows.min(0).values),
    "softmax_mean": (
        lambda values, lists, **backend: ragged.softmax_mean(values, lists, 1.5, **backend),
        lambda rows: ((1.5 * rows).softmax(0) * rows).sum(0),
    ),
    "power_mean": (
        lambda values, lists, **backend: ragged.power_mean(values.exp(), lists, 2.5, **backend),
        lambda rows: (rows.exp() ** 2.5).mean(0) ** (1 / 2.5),
    ),
}


def lists_of(sizes: tuple[int, ...] = SIZES, positions: int = 5, seed: int = 0) -> Lists:
    starts = torch.tensor([0, *sizes]).cumsum(0)
    indices = torch.randint(positions, (sum(sizes),), generator=torch.Generator().manual_seed(seed))
    return Lists(starts, indices, positions)


def rows(count: int, channels: int = 3, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def in_loops(values: Tensor, lists: Lists, of: Callable[[Tensor], Tensor]) -> Tensor:
    parts = lists.indices.split(lists.lengths.tolist())
    return torch.stack([of(values[part]) if len(part) else values.new_zeros(values.shape[1]) for part in parts])


@pytest.mark.parametrize("channels", [1, 16, 37, 130])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_what_loops_compute(name: str, backend: str, channels: int) -> None:
    ours, loop = OPERATORS[name]
    values, lists = rows(5, channels).requires_grad_(), lists_of()
    grad = rows(len(SIZES), channels, seed=2)
    outputs = ours(values, lists, backend=backend), in_loops(values, lists, loop)
    result, expected = ((out, *torch.autograd.grad(out, values, grad)) for out in outputs)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_scores_weigh_the_channels_of_their_head(heads: int) -> None:
    values, lists, scores = rows(5, 12), lists_of(), rows(sum(SIZES), heads, seed=3)
    whole = scores.repeat_interleave(12 // heads, dim=1)
    expected = torch.stack([part.sum(0) for part in (values[lists.indices] * whole).split(lists.lengths.tolist())])
    for backend in ("auto", "reference"):
        torch.testing.assert_close(ragged.total(values, lists, scores, backend=backend), expected)
    torch.testing.assert_close(ragged.total(values, lists, scores[:, 0]), ragged.total(values, lists, scores[:, :1]))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_products_are_those_of_each_edge(heads: int) -> None:
    queries, keys, lists = rows(len(SIZES), 8), rows(5, 8, seed=2), lists_of()
    pairs = (queries[lists.query_of_each] * keys[lists.indices]).unflatten(1, (heads, -1)).sum(2)
    for backend in ("auto", "reference"):
        torch.testing.assert_close(ragged.products(queries, keys, lists, heads=heads, backend=backend), pairs)


def test_derivatives_of_both_orders() -> None:
    lists, values, scores = lists_of(), rows(5, 4).requires_grad_(), rows(sum(SIZES), 2).requires_grad_()
    queries = rows(len(SIZES), 4, seed=5).requires_grad_()

    def weighted(values: Tensor, scores: Tensor) -> Tensor:
        return ragged.total(values, lists, scores)

    def compared(queries: Tensor, keys: Tensor) -> Tensor:
        return ragged.products(queries, keys, lists, heads=2)

    for function, inputs in ((weighted, (values, scores)), (compared, (queries, values))):
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)
    largest = (lambda values: ragged.maximum(values, lists)), (values,)
    assert torch.autograd.gradcheck(*largest, fast_mode=True)
    assert torch.autograd.gradgradcheck(*largest, fast_mode=True)
    assert torch.autograd.gradcheck(lambda scores: ragged.softmax(scores, lists), (scores,), fast_mode=True)
    temperature = rows(4, 1, seed=6).flatten().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, t: ragged.softmax_mean(v, lists, t), (values, temperature), fast_mode=True
    )


def test_they_are_the_aggregations_of_torch_geometric() -> None:
    aggr = pytest.importorskip("torch_geometric.nn.aggr")
    utils = pytest.importorskip("torch_geometric.utils")
    lists, values = lists_of((4, 0, 9, 2, 30), 20), rows(20, 6)
    messages, of = values[lists.indices], lists.query_of_each
    theirs = {
        "total": aggr.SumAggregation(),
        "mean": aggr.MeanAggregation(),
        "variance": aggr.VarAggregation(),
        "maximum": aggr.MaxAggregation(),
        "minimum": aggr.MinAggregation(),
    }
    for name, one in theirs.items():
        torch.testing.assert_close(OPERATORS[name][0](values, lists), one(messages, of, dim_size=5))
    t, p = rows(6, 1, seed=3).flatten(), rows(6, 1, seed=4).flatten().abs() + 1
    softmax = aggr.SoftmaxAggregation(learn=True, channels=6).double()
    softmax.t.data.copy_(t)
    ours_t, theirs_t = t.requires_grad_(), softmax.t
    results = ragged.softmax_mean(values, lists, ours_t), softmax(messages, of, dim_size=5)
    torch.testing.assert_close(*results)
    grads = [
        torch.autograd.grad(out.square().sum(), at)[0] for out, at in zip(results, (ours_t, theirs_t), strict=True)
    ]
    torch.testing.assert_close(*(one.flatten() for one in grads))
    power = aggr.PowerMeanAggregation(learn=True, channels=6).double()
    power.p.data.copy_(p)
    expected = power(messages.abs(), of, dim_size=5)
    there = lists.lengths > 0  # theirs is not 0 in empty lists
    torch.testing.assert_close(ragged.power_mean(values.abs(), lists, p)[there], expected[there])
    scores = rows(45, 2, seed=4)
    torch.testing.assert_close(ragged.softmax(scores, lists), utils.softmax(scores, of, num_nodes=5))


def test_edges_become_lists_of_incoming_neighbours() -> None:
    edge_index = torch.tensor([[2, 0, 1, 2, 0], [1, 3, 1, 0, 1]])
    lists, places = Lists.of_edges(edge_index, (3, 4))
    assert lists.starts.tolist() == [0, 1, 4, 4, 5]
    assert lists.indices.tolist() == [2, 2, 1, 0, 0]
    assert places.tolist() == [3, 0, 2, 4, 1]


def test_ties_go_to_the_first_and_nan_is_largest() -> None:
    lists = Lists(torch.tensor([0, 3, 5]), torch.tensor([2, 0, 1, 1, 3]), 4)
    values = torch.tensor([[1.0, -torch.inf], [1.0, torch.nan], [1.0, torch.inf], [torch.nan, torch.nan]])
    for backend in ("auto", "reference"):
        x = values.clone().requires_grad_()
        out = ragged.maximum(x, lists, backend=backend)
        torch.testing.assert_close(out, torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]]), equal_nan=True)
        out.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [[0, 0], [0, 2], [1, 0], [1, 0]]


def test_the_bits_do_not_depend_on_threads() -> None:
    lists, values = lists_of(tuple(range(200)), 300), rows(300, 20, dtype=torch.float32).requires_grad_()
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            out = ragged.total(values, lists) + ragged.maximum(values, lists)
            results.append((out, *torch.autograd.grad(out.square().sum(), values)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_keep_their_type(dtype: torch.dtype) -> None:
    values, lists = rows(5, dtype=dtype).requires_grad_(), lists_of()
    out = ragged.mean(values, lists)
    out.sum().backward()
    assert out.dtype == dtype
    assert values.grad is not None
    assert values.grad.dtype == dtype


def test_nothing_in_nothing_out() -> None:
    empty = Lists(torch.tensor([0, 0, 0]), torch.tensor([], dtype=torch.long), 0)
    values = rows(0).requires_grad_()
    for operator, _ in OPERATORS.values():
        out = operator(values, empty)
        assert torch.equal(out, out.new_zeros(2, 3))
        out.sum().backward()
    assert ragged.total(rows(4), Lists(torch.tensor([0]), empty.indices, 4)).shape == (0, 3)


def test_they_compile_as_one_graph() -> None:
    lists, values = lists_of(), rows(5)
    compiled = torch.compile(lambda values: ragged.variance(values, lists), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(values), ragged.variance(values, lists))


# opcheck looks at the gradients of its own copies of the inputs
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_operators_are_proper_custom_ops() -> None:
    lists, values = lists_of(), rows(5, 4).requires_grad_()
    scores = rows(sum(SIZES), 2).requires_grad_()
    ops, both = torch.ops.convnn, lists.arguments()
    torch.library.opcheck(ops.ragged_sum.default, (values, scores, *both, "auto"))
    torch.library.opcheck(ops.ragged_products.default, (rows(len(SIZES), 4), values, *both, 2, "auto"))
    choices = ops.ragged_largest(values.detach(), lists.starts, lists.indices, "auto")
    softmax = (values, torch.ones(4, dtype=torch.float64, requires_grad=True), *both[:4], "auto")
    torch.library.opcheck(ops.ragged_softmax.default, softmax, test_utils="test_schema")
    torch.library.opcheck(ops.ragged_softmax.default, softmax, test_utils="test_faketensor")
    torch.library.opcheck(ops.take_choices.default, (values, choices, "auto"))
    torch.library.opcheck(ops.scatter_choices.default, (rows(len(SIZES), 4).requires_grad_(), choices, 5, "auto"))


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "starts": (lambda: Lists(torch.tensor([0, 2, 1]), torch.tensor([0]), 1), "starts must ascend from 0 to 1"),
    "no starts": (lambda: Lists(torch.tensor([], dtype=torch.long), torch.tensor([0]), 1), "starts must have an entry"),
    "type": (lambda: Lists(torch.tensor([0.0]), torch.tensor([0]), 1), "must be one list of int64"),
    "indices": (lambda: Lists(torch.tensor([0, 1]), torch.tensor([3]), 3), "must lie between 0 and 2"),
    "edges": (lambda: Lists.of_edges(torch.zeros(3, 2, dtype=torch.long), 4), r"must be \(2, E\) int64"),
    "source": (lambda: Lists.of_edges(torch.tensor([[4], [0]]), 4), "edge_index has sources from 4 to 4"),
    "target": (lambda: Lists.of_edges(torch.tensor([[0], [-1]]), 4), "edge_index has targets from -1 to -1"),
    "values": (lambda: ragged.total(rows(4), lists_of()), r"must be floating and \(5, C\)"),
    "scores": (lambda: ragged.total(rows(5), lists_of(), rows(13, 2)), "where H divides the 3 channels"),
    "queries": (lambda: ragged.products(rows(5), rows(5), lists_of()), "a row for each list"),
    "heads": (lambda: ragged.products(rows(6), rows(5), lists_of(), heads=2), "heads=2 must divide the 3 channels"),
    "temperature": (lambda: ragged.softmax_mean(rows(5), lists_of(), torch.ones(2)), "must be one number, or one for"),
    "backend": (lambda: ragged.total(rows(5), lists_of(), backend="fast"), "backend='fast'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()
