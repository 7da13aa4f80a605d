"""The search alone, compared with search libraries."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import Case, K, inner_positions, plain_search
from convnn.bench.measure import milliseconds, ratio
from convnn.ops import select

Search = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(queries: Tensor, keys: Tensor, positions: Tensor) -> Tensor:
    return select.nearest(queries, keys, K, positions=positions).indices


def with_faiss(queries: Tensor, keys: Tensor, positions: Tensor) -> Tensor:
    """Search with one exact flat index per image, because faiss has no batches; each position finds itself first."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    found = []
    for image_queries, image_keys in zip(_unit(queries), _unit(keys), strict=True):
        index = faiss.IndexFlatIP(keys.shape[-1])
        index.add(image_keys.numpy())
        found.append(torch.from_numpy(index.search(image_queries.numpy(), K)[1]))
    return torch.stack(found)


def with_keops(queries: Tensor, keys: Tensor, positions: Tensor) -> Tensor:
    """Search with a symbolic matrix of products of unit vectors, reduced as it is computed."""
    from pykeops.torch import LazyTensor

    cosines = (LazyTensor(_unit(queries)[:, :, None]) * LazyTensor(_unit(keys)[:, None])).sum(-1)
    return (-cosines).argKmin(K, dim=2)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1).contiguous()


def reference(queries: Tensor, keys: Tensor, positions: Tensor) -> Tensor:
    return select.nearest(queries, keys, K, positions=positions, backend="reference").indices


SEARCHES: dict[str, Search] = {
    "ours": ours,
    "reference": reference,
    "matmul+topk": plain_search,
    "faiss": with_faiss,
    "pykeops": with_keops,
}


def inputs_of(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and positions of random maps padded by one."""
    torch.manual_seed(0)
    x = torch.randn(case.batch, case.inputs, case.side, case.side)
    keys = torch.nn.functional.pad(x, [1] * 4).flatten(2).transpose(1, 2).contiguous()
    positions = inner_positions(case.side, case.side)
    return keys[:, positions].contiguous(), keys, positions


def agrees(found: Tensor, expected: Tensor, queries: Tensor, keys: Tensor) -> bool:
    """Return whether the scores agree, best first; libraries may order equal scores differently."""
    scores = [_scores(queries, keys, indices) for indices in (found, expected)]
    return torch.allclose(*scores, rtol=0, atol=1e-5)


def _scores(queries: Tensor, keys: Tensor, indices: Tensor) -> Tensor:
    images = torch.arange(len(keys))[:, None, None]
    chosen = torch.nn.functional.normalize(keys.double(), dim=-1)[images, indices]
    unit = torch.nn.functional.normalize(queries.double(), dim=-1)
    return torch.einsum("bnc,bnkc->bnk", unit, chosen).sort(dim=-1, descending=True).values


def measure_search(case: Case, repeats: int) -> dict[str, Any]:
    """Measure the search alone, with every library that finds the same neighbours."""
    inputs = inputs_of(case)
    expected = reference(*inputs)
    agreement = {name: agrees(find(*inputs), expected, *inputs[:2]) for name, find in SEARCHES.items()}
    times = milliseconds({name: partial(find, *inputs) for name, find in SEARCHES.items()}, max(3, repeats // 2))
    medians = {name: statistics.median(times[name]) for name in times}
    print(f"search {case}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items()), flush=True)
    ratios = {name: ratio(times, name, "ours") for name in times}
    return {"case": case._asdict(), "ms": medians, "ours is faster": ratios, "agrees": agreement}
