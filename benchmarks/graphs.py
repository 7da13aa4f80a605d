"""Aggregation on given graphs against PyTorch Geometric, and the building of graphs against Faiss."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.bench.measure import milliseconds, ratio
from convnn.graphs import knn_graph
from convnn.nn import graphs
from convnn.ops import edges, ragged

Function = Callable[[Tensor], Tensor]
KINDS = ("Sum", "Mean", "Max", "Min", "Std", "Softmax", "PowerMean")
K = 16


def measure_graphs(nodes: int, degree: int, channels: int, points: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """Measure aggregations, forward and backward, on a random graph, and searches of ever more points."""
    rows = _aggregations(nodes, degree, channels, repeats)
    searches = [_searches(count, repeats) for count in points]
    return {"nodes": nodes, "degree": degree, "channels": channels, "rows": rows, "searches": searches}


def _aggregations(nodes: int, degree: int, channels: int, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(nodes, (2, nodes * degree), generator=generator)
    places = torch.randperm(nodes * channels, generator=generator).view(nodes, channels)
    x = (0.1 + places / places.numel()).requires_grad_()  # all different: of equal largest values ours is the first
    weight = torch.rand(edge_index.shape[1], generator=generator)
    grad = torch.randn(nodes, channels, generator=generator)
    rows = {}
    for name, contestants in {kind: _of(kind, edge_index, nodes) for kind in KINDS}.items():
        rows[name] = _row(contestants, x, grad, repeats)
        print(name, rows[name], flush=True)
    contestants = _of("Sum", edge_index, nodes)
    theirs, ours = (partial(_weighted, contestants[one], weight) for one in ("PyG", "ours, of messages"))
    weighted = {"PyG": theirs, "ours, of messages": ours, "ours": lambda x: edges.propagate(x, edge_index, weight)}
    rows["Weighted sum"] = _row(weighted, x, grad, repeats)
    print("Weighted sum", rows["Weighted sum"], flush=True)
    return rows


def _of(kind: str, edge_index: Tensor, nodes: int) -> dict[str, Callable[..., Tensor]]:
    """Return an aggregation of PyTorch Geometric, ours of the same messages, and ours without messages."""
    from torch_geometric.nn import aggr

    settings = {"p": 2.0} if kind == "PowerMean" else {}
    lists, _ = edges.lists_of_edges(edge_index, nodes)
    fused: dict[str, Function] = {
        "Sum": lambda x: ragged.total(x, lists),
        "Mean": lambda x: ragged.mean(x, lists),
        "Max": lambda x: ragged.maximum(x, lists),
        "Min": lambda x: ragged.minimum(x, lists),
        "Std": lambda x: F.threshold(ragged.variance(x, lists).clamp(min=1e-5).sqrt(), 1e-5**0.5, 0.0),  # as PyG
        "Softmax": lambda x: ragged.softmax_mean(x, lists),
        "PowerMean": lambda x: ragged.power_mean(x, lists, 2.0),
    }
    modules = {"PyG": aggr, "ours, of messages": graphs}
    made = {one: getattr(module, f"{kind}Aggregation")(**settings) for one, module in modules.items()}
    return {one: partial(_of_messages, made[one], edge_index) for one in made} | {"ours": fused[kind]}


def _of_messages(aggregation: Any, edge_index: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    messages = x.index_select(0, edge_index[0])
    messages = messages if weight is None else messages * weight.unsqueeze(1)
    return aggregation(messages, edge_index[1], dim_size=x.shape[0])


def _weighted(of_messages: Callable[..., Tensor], weight: Tensor, x: Tensor) -> Tensor:
    return of_messages(x, weight)


def _row(contestants: dict[str, Function], x: Tensor, grad: Tensor, repeats: int) -> dict[str, Any]:
    def step(function: Function, x: Tensor = x, grad: Tensor = grad) -> tuple[Tensor, Tensor]:
        out = function(x)
        return out.detach(), torch.autograd.grad(out, x, grad)[0]

    # In float32 the deviation of two neighbours that are nearly equal is rounding error.
    exact = x.detach().double().requires_grad_()
    results = {name: step(contestants[name], exact, grad.double()) for name in ("ours", "PyG")}
    agrees = all(torch.allclose(one, other) for one, other in zip(results["ours"], results["PyG"], strict=True))
    times = milliseconds({name: partial(step, function) for name, function in contestants.items()}, repeats)
    faster = {name: 1 / ratio(times, name, "PyG") for name in times if name != "PyG"}
    return {"ms": {name: statistics.median(times[name]) for name in times}, "times faster": faster, "agrees": agrees}


def _searches(count: int, repeats: int) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    x = torch.randn(count, 64, generator=torch.Generator().manual_seed(1))

    def with_faiss() -> Tensor:
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(x.numpy())
        return torch.from_numpy(index.search(x.numpy(), K + 1)[1])[:, 1:]

    contestants: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: knn_graph(x, K),
        "ours, clustered": lambda: knn_graph(x, K, method="clustered"),
        "Faiss": with_faiss,
    }
    same = (contestants["ours"]()[0].view(-1, K) == with_faiss()).double().mean().item()
    times = milliseconds(contestants, repeats)
    result = {
        "points": count,
        "ms": {name: statistics.median(times[name]) for name in times},
        "times faster": 1 / ratio(times, "ours", "Faiss"),
        "same": same,
    }
    print(result, flush=True)
    return result
