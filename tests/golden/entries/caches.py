"""Which keys and values a cache keeps, and which it fetches: GraphKV (arXiv 2509.00388), LouisKV (arXiv 2510.11292)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from convnn.nn.tokens.caches import (
    ClusteredCache,
    GraphKVCache,
    SnapKVCache,
    decay_neighbors,
    window_importance,
)
from convnn.ops import select
from golden.case import Case
from golden.entry import Entry

SOURCES = ("num_sources", "num_neighbors", "rounds")


def _figure(case: Case) -> Mapping[str, Tensor]:
    """Return the example of the figure, with keys of length 1 that have its cosines with the two sources."""
    tensors, sources = case.tensors, case.tensors["sources"]
    cosines = tensors["similarity"].index_fill(1, sources, 0)
    keys = torch.cat([cosines, (1 - cosines.square().sum(0, keepdim=True)).sqrt()]).T
    keys = keys.index_copy(0, sources, torch.eye(2, 3, dtype=keys.dtype))
    found = decay_neighbors(tensors["base_score"], keys, **case.pick(*SOURCES))
    return {"score": found.scores, "sources": found.sources, "kept": _sorted_best(found.scores, case.config["budget"])}


def _sorted_best(scores: Tensor, budget: int) -> Tensor:
    return select.highest(scores, budget).sort(-1).values


def _graph_kv(case: Case) -> Mapping[str, Tensor]:
    tensors, window = case.tensors, case.config["window"]
    prompt = tensors["key"], tensors["value"], tensors["query"]
    ours = GraphKVCache(**case.pick("budget", "window", "kernel", "pool", *SOURCES))
    plain = SnapKVCache(**case.pick("budget", "window", "kernel", "pool"))
    for cache in (ours, plain):
        cache.prefill(*prompt)
    base = window_importance(tensors["query"], tensors["key"], **case.pick("window", "kernel", "pool"))
    decayed = decay_neighbors(base, tensors["key"][:, :, :-window], **case.pick(*SOURCES))
    return {
        "base_score": base,
        "score": decayed.scores,
        "sources": decayed.sources.view(tensors["sources"].shape),
        "kept": ours.positions,
        "kept_without_decay": plain.positions,
        "output": ours.attend(tensors["new_query"]),
    }


def _louis_kv(case: Case) -> Mapping[str, Tensor]:
    """Return labels, and step by step the boundaries, what is read and the outputs, of one head of keys."""
    tensors = case.tensors
    sinks, total = case.config["sinks"], tensors["prompt_key"].shape[0] + tensors["key"].shape[0]
    settings = case.pick("budget", "threshold", "cluster_size", "sinks", "window", "iterations")
    cache = ClusteredCache(**settings, start=tensors["initial"])
    cache.prefill(tensors["prompt_key"][None, None], tensors["prompt_value"][None, None])
    labels, boundary, read, output = cache.units[0, 0, sinks:], [], [], []
    for query, key, value in zip(tensors["query"], tensors["key"], tensors["value"], strict=True):
        output.append(cache.step(query[None, :, None], key[None, None, None], value[None, None, None])[0, :, 0])
        boundary.append(cache.boundary[0, 0].long())
        read.append(torch.nn.functional.pad(cache.read[0, 0].long(), (0, total - cache.seen)))
    return {name: torch.stack(rows) for name, rows in (("boundary", boundary), ("read", read), ("output", output))} | {
        "labels": labels
    }


ENTRIES = {
    "decay step": Entry(lambda case: lambda: _figure(case), ()),
    "GraphKV on SnapKV scores": Entry(lambda case: lambda: _graph_kv(case), ()),
    "LouisKV decode loop": Entry(lambda case: lambda: _louis_kv(case), ()),
}
