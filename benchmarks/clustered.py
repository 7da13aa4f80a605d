"""The clustered search on ever larger maps, beside the exact one and Faiss."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contestants import Case, K, step
from benchmarks.growth import exponent
from benchmarks.photographs import photographic_features
from convnn.bench.measure import milliseconds, ratio
from convnn.nn import ConvNN2d
from convnn.ops import select
from convnn.ops.clusters import share_found

RECALL = 0.95
EXACT_UP_TO = 256  # sides; a larger exact search takes minutes
SAMPLE = 1024  # queries by which the share found is measured


def measure_clustered(sides: tuple[int, ...], repeats: int) -> dict[str, Any]:
    """One image of 64 channels of each size: searches, layers, shares found; and how the time of the search grows."""
    rows = [_measure(Case(1, side, 64, 64), repeats) for side in sides]
    grown = exponent([one["side"] ** 2 for one in rows], [one["ms"]["clustered"] for one in rows])
    return {"rows": rows, "exponent": grown, "recall": RECALL}


def _measure(case: Case, repeats: int) -> dict[str, Any]:
    x = photographic_features(1, case.inputs, case.side)
    keys, positions = x.flatten(2).mT.contiguous(), torch.arange(case.side**2)
    searches = {
        "clustered": partial(_ours, keys, positions, method="clustered", recall=RECALL),
        "Faiss": with_faiss(keys, RECALL),
    }
    if case.side <= EXACT_UP_TO:
        searches["exact"] = partial(_ours, keys, positions)
    found = {name: search() for name, search in searches.items()}
    contestants: dict[str, Callable[[], object]] = {**searches, **_layers(case, x)}
    times = milliseconds(contestants, repeats)
    result = {
        "side": case.side,
        "ms": {name: statistics.median(times[name]) for name in times},
        "times Conv2d": {name: ratio(times, name, "Conv2d") for name in times if name.startswith("ConvNN")},
        "times clustered": {name: ratio(times, name, "clustered") for name in searches},
        "found": {name: share_of_sample(indices, keys) for name, indices in found.items()},
    }
    print(result, flush=True)
    return result


def _ours(keys: Tensor, positions: Tensor, **method: Any) -> Tensor:
    return select.nearest(keys, keys, K, positions=positions, **method).indices


def _layers(case: Case, x: Tensor) -> dict[str, Callable[[], object]]:
    made: dict[str, nn.Module] = {
        "Conv2d": nn.Conv2d(case.inputs, case.outputs, 3, padding=1),
        "ConvNN, clustered": ConvNN2d(case.inputs, case.outputs, K=K, search="clustered", recall=RECALL),
    }
    if case.side <= EXACT_UP_TO:
        made["ConvNN, exact"] = ConvNN2d(case.inputs, case.outputs, K=K)
    x = x.contiguous(memory_format=torch.channels_last)
    return {name: partial(step, layer.to(memory_format=torch.channels_last), x, False) for name, layer in made.items()}


def with_faiss(keys: Tensor, recall: float) -> Callable[[], Tensor]:
    """Return a search by Faiss's inverted lists, building included, with as many probes as the recall needs.

    Lists and training are those of the clustered search, which are quicker than Faiss's own and find as much. The
    probes are determined beforehand and cost nothing.
    """
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    rows = nn.functional.normalize(keys[0], dim=-1)
    lists, unit = round(2 * len(rows) ** 0.5), rows.numpy()

    def search(probes: int) -> Tensor:
        flat = faiss.IndexFlatIP(unit.shape[1])
        index = faiss.IndexIVFFlat(flat, unit.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 2, 16, 1
        index.nprobe = probes
        index.train(unit)
        index.add(unit)
        return torch.from_numpy(index.search(unit, K)[1])[None]

    probes = next(p for p in range(1, lists + 1) if share_of_sample(search(p), keys) >= recall)
    return partial(search, probes)


def share_of_sample(indices: Tensor, keys: Tensor) -> float:
    """Return the share of the true neighbours, without the positions themselves, that a search found for a sample."""
    sample = torch.randperm(keys.shape[1], generator=torch.Generator().manual_seed(1))[:SAMPLE]
    exact = select.nearest(keys[:, sample], keys, K, positions=sample).indices[..., 1:]
    return share_found(indices[:, sample], exact)
