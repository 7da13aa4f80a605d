"""Aggregations on our lists against those of PyTorch Geometric, alone and in its layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError

aggr = pytest.importorskip("torch_geometric.nn.aggr")
from torch_geometric.nn import GENConv, GINConv, MessagePassing, SAGEConv  # noqa: E402

from convnn.nn import graphs  # noqa: E402

CASES: dict[str, dict[str, Any]] = {
    "Sum": {},
    "Mean": {},
    "Max": {},
    "Min": {},
    "Var": {},
    "Std": {},
    "Softmax": {},
    "PowerMean": {},
    "Var of half a gradient": {"semi_grad": True},
    "Softmax of half a gradient": {"t": 0.3, "semi_grad": True},
    "Softmax learned": {"t": 0.7, "learn": True},
    "Softmax of channels": {"t": 0.7, "learn": True, "channels": 6},
    "PowerMean learned": {"p": 1.5, "learn": True},
    "PowerMean of channels": {"p": 2.0, "learn": True, "channels": 6},
    "PowerMean unbounded": {"p": 2.0, "clamp_max": None},
}


def both(name: str) -> tuple[Any, Any]:
    kind, settings = f"{name.split()[0]}Aggregation", CASES[name]
    return tuple(getattr(where, kind)(**settings).double() for where in (graphs, aggr))


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


INDEX = torch.tensor([2, 0, 2, 5, 0, 2, 2, 1, 5, 2, 0])
"""Unsorted, with single elements and empty sets."""


def results(module: Any, x: Tensor, **sets: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = module(x, **sets)
    return [out, *torch.autograd.grad(out, [x, *module.parameters()], rows(*out.shape, seed=3), allow_unused=True)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["unsorted", "sorted", "ptr"])
def test_they_are_those_of_torch_geometric(name: str, form: str) -> None:
    index = INDEX if form == "unsorted" else INDEX.sort().values
    sets: dict[str, Any] = {"index": index, "dim_size": 7}
    if form == "ptr":
        sets = {"ptr": torch.cat([torch.zeros(1, dtype=torch.long), index.bincount(minlength=7).cumsum(0)])}
    ours, theirs = (results(module, rows(len(INDEX), 6).abs(), **sets) for module in both(name))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    assert repr(both(name)[0]) == repr(both(name)[1])


@pytest.mark.parametrize("name", ["Sum", "Max", "Std", "Softmax"])
@pytest.mark.parametrize(("shape", "dim"), [((3, 11, 4), -2), ((11, 3, 4), 0), ((2, 3, 11), -1), ((11,), 0)])
def test_any_axis_can_be_reduced(name: str, shape: tuple[int, ...], dim: int) -> None:
    ours, theirs = both(name)
    x = rows(*shape)
    torch.testing.assert_close(ours(x, INDEX, dim=dim), theirs(x, INDEX, dim=dim))


def test_integers_are_left_to_torch_geometric() -> None:
    x = torch.arange(22).view(11, 2)
    assert torch.equal(graphs.SumAggregation()(x, INDEX), aggr.SumAggregation()(x, INDEX))


def test_the_gradient_of_a_maximum_goes_to_the_first_of_equals() -> None:
    x = torch.ones(3, 1, requires_grad=True)
    graphs.MaxAggregation()(x, torch.tensor([0, 0, 1])).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 1]


LAYERS: dict[str, Callable[[Any], MessagePassing]] = {
    "SAGE": lambda one: SAGEConv(6, 4, aggr=one),
    "GIN": lambda one: GINConv(torch.nn.Linear(6, 4), aggr=one),
    "GEN": lambda one: GENConv(6, 4, aggr=one, norm="layer"),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["Mean", "Max", "Std", "Softmax", "PowerMean"])
def test_layers_of_torch_geometric_take_them(layer: str, name: str) -> None:
    edge_index = torch.randint(9, (2, 30), generator=torch.Generator().manual_seed(2))
    ours, theirs = (LAYERS[layer](one).double() for one in both(name))
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(rows(9, 6), edge_index), theirs(rows(9, 6), edge_index))


@pytest.mark.slow
def test_layers_with_them_compile_as_one_graph() -> None:
    edge_index = torch.randint(9, (2, 30), generator=torch.Generator().manual_seed(2))
    layer = SAGEConv(6, 4, aggr=graphs.SoftmaxAggregation(learn=True)).double()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(rows(9, 6), edge_index), layer(rows(9, 6), edge_index))


def test_a_set_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"^indices from 0 to 5 must lie between 0 and 2 for 3 positions$"):
        graphs.SumAggregation()(rows(11, 2), INDEX, dim_size=3)
