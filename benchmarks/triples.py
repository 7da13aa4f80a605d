"""Rows of triples, e_h + r - e_t: one sparse product against three gathered copies, time and memory of a step."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.bench.measure import Action, milliseconds, peak_megabytes, ratio
from convnn.ops.triples import gather, incidence

Product = Callable[[Tensor], Tensor]
BASE = "gathered"


class Sizes(NamedTuple):
    """Entities, relations, triples in a step, and channels."""

    nodes: int
    relations: int
    triples: int
    channels: int

    def __str__(self) -> str:
        return f"{self.nodes:,} entities, {self.triples:,} triples of {self.channels}"


def measure_triples(cases: list[Sizes], repeats: int, *, with_memory: bool) -> list[dict[str, Any]]:
    """Measure the rows of each case, forward and backward, and what is kept for the gradient."""
    return [_measure(sizes, repeats, with_memory=with_memory) for sizes in cases]


def _measure(sizes: Sizes, repeats: int, *, with_memory: bool) -> dict[str, Any]:
    table, triples = _inputs(sizes)
    products = _contestants(sizes, triples)
    steps = {name: partial(_step, product, table) for name, product in products.items()}
    (value, slope), (other, other_slope) = (
        _step(product, table.detach().double().requires_grad_())
        for name, product in products.items()
        if name != "embedding"
    )
    agrees = torch.allclose(value, other, rtol=0, atol=1e-10) and torch.allclose(slope, other_slope, rtol=0, atol=1e-10)
    times = milliseconds(steps, repeats)
    result: dict[str, Any] = {
        "case": str(sizes),
        "ms": {name: statistics.median(times[name]) for name in times},
        "times faster": {name: 1 / ratio(times, name, BASE) for name in times},
        "kept MB": {name: _kept(product, table) for name, product in products.items()},
        "agrees": agrees,
    }
    if with_memory:
        result["peak MB"] = {name: peak_megabytes(_make, sizes, name) for name in products}
    print(result, flush=True)
    return result


def _inputs(sizes: Sizes) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    columns = (sizes.nodes, sizes.relations, sizes.nodes)
    triples = torch.stack([torch.randint(count, (sizes.triples,), generator=generator) for count in columns], dim=1)
    table = torch.randn(sizes.nodes + sizes.relations, sizes.channels, generator=generator)
    return table.requires_grad_(), triples


def _contestants(sizes: Sizes, triples: Tensor) -> dict[str, Product]:
    """Return the product, whose matrix is made once as batches are, three indexings, and three embeddings."""
    graph = sizes.nodes, sizes.relations
    matrix = incidence(triples, *graph)
    heads, relations, tails = triples[:, 0], triples[:, 1] + sizes.nodes, triples[:, 2]
    return {
        "sparse product": matrix.product,
        BASE: lambda table: gather(table, triples, *graph),
        "embedding": lambda table: (
            F.embedding(heads, table) + F.embedding(relations, table) - F.embedding(tails, table)
        ),
    }


def _step(product: Product, table: Tensor) -> tuple[Tensor, Tensor]:
    z = product(table)
    return z.detach(), torch.autograd.grad(z.square().sum(), table)[0]


def _kept(product: Product, table: Tensor) -> float:
    """Return the megabytes of rows that are made forward, the result among them."""
    made = 0

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal made
            out = function(*args, **(kwargs or {}))
            if (
                isinstance(out, Tensor)
                and out.is_floating_point()
                and out.dim() == 2
                and out.shape[1] == table.shape[1]
            ):
                made += out.numel() * out.element_size() * (out.data_ptr() != table.data_ptr())
            return out

    with torch.no_grad(), Count():
        product(table)
    return made / 2**20


def _make(sizes: Sizes, name: str) -> tuple[Action, Action]:
    """Return a step on a few triples, which warms up, and the step."""
    few = sizes._replace(triples=2)
    small, large = (_inputs(one) for one in (few, sizes))
    warm, step = (_contestants(one, inputs[1])[name] for one, inputs in ((few, small), (sizes, large)))
    return partial(_step, warm, small[0]), partial(_step, step, large[0])


def table(results: dict[str, Any]) -> str:
    """A row for each size: milliseconds, times faster than gathering, and memory."""
    rows = results["triples"]
    names = list(rows[0]["ms"])
    head = ["", *(f"{name}, ms" for name in names), "times faster than gathered", "rows made, MB", "peak, MB"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        peaks = row.get("peak MB", {})
        cells = [row["case"], *(f"{row['ms'][name]:.1f}" for name in names)]
        cells.append(f"{row['times faster']['sparse product']:.1f}")
        cells.append(f"{row['kept MB']['sparse product']:.0f} of {row['kept MB'][BASE]:.0f}")
        cells.append(f"{peaks['sparse product']:.0f} of {peaks[BASE]:.0f}" if peaks else "")
        lines.append("| " + " | ".join(cells) + " |")
    return (
        "### Rows of triples\n\n"
        "e_h + r - e_t of all triples of a step, forward and backward, by one product with their incidence matrix, by"
        " three indexings and sums, and by three embeddings; the matrix is made before, once for a batch. The rows made"
        " forward, and the peak of memory above table and triples.\n\n" + "\n".join(lines) + "\n"
    )
