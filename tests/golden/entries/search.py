"""Faiss (arXiv 1702.08734): exact search, search in inverted lists, and the k-means that makes the lists."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends.request import Request
from convnn.ops import select, weigh
from convnn.ops._dispatch import find_kernels
from convnn.ops.clusters import Problem, assign, list_order, probes_for, probes_needed, recall_curve, search_lists
from convnn.ops.kmeans import kmeans
from golden.case import Case
from golden.entry import Entry, Refused

NOTHING = 1e30
"""The distance that a file has where lists hold too few keys; a product is minus that."""


def _metric(case: Case) -> str:
    published = str(case.config.data.get("metric", "euclidean"))
    if published.startswith("cos"):
        return "cosine"
    return "euclidean" if published.startswith(("euclid", "l2", "L2")) else "matmul"


def _kernels(rows: Tensor, K: int = 1) -> object:
    return find_kernels("auto", Request("nearest_in_clusters", rows.device, rows.dtype, K, rows.shape[-1]))


def _problem(case: Case, queries: Tensor, keys: Tensor) -> Problem:
    positions, candidates = (case.tensors.get(name) for name in ("positions", "candidates"))
    K = case.config["K"]
    return Problem(_kernels(keys, K), queries, keys, K, _metric(case), positions, candidates)


def _values(problem: Problem, indices: Tensor) -> Tensor:
    """Return what Faiss returns for the keys found: squared distances, or products, also of rows of length one."""
    queries, keys = problem.queries, problem.keys
    if problem.metric == "cosine":
        queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
    metric = "euclidean" if problem.metric == "euclidean" else "matmul"
    found = select.Neighbors(indices.clamp_min(0))
    scores = weigh.similarity(found, queries, keys, metric=metric).scores
    nothing = NOTHING if metric == "euclidean" else -NOTHING
    return (-scores if metric == "euclidean" else scores).masked_fill(indices < 0, nothing)


def _flat(case: Case) -> Mapping[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for name, metric in (("l2", "euclidean"), ("ip", "matmul"), ("cosine", "cosine")):
        problem = _problem(case, case.tensors["queries"], case.tensors["keys"])
        problem = Problem(problem.kernels, problem.queries, problem.keys, problem.K, metric, None, None)
        outputs[f"indices_{name}"] = problem.exact()
        outputs[f"distances_{name}"] = _values(problem, outputs[f"indices_{name}"])
    return outputs


def _inverted(case: Case) -> Mapping[str, Tensor]:
    problem, centroids = _problem(case, case.tensors["queries"], case.tensors["keys"]), case.tensors["centroids"]
    lists, count = case.tensors["assignment"], centroids.shape[1]
    order = list_order(problem, centroids)
    outputs = {"probe_order": order, "exact_indices": problem.exact()}
    outputs["recall_curve"] = recall_curve(problem, centroids, lists).mean(0)
    if problem.metric == "euclidean":  # keys that are compared by products are clustered by distance here
        outputs["assignment"] = assign(problem, problem.keys, centroids)
    for probes in case.config.get("nprobes", [case.config.get("nprobe", 1)]):
        found = problem.kernels.nearest_in_lists(
            problem.queries, problem.keys, problem.K, problem.metric, None, lists, order[:, :, :probes], count
        )
        for suffix in (f"_nprobe{probes}", ""):
            outputs |= {f"indices{suffix}": found, f"distances{suffix}": _values(problem, found)}
    return outputs


def _nearest(case: Case) -> Mapping[str, Tensor]:
    problem, centroids = _problem(case, case.tensors["queries"], case.tensors["keys"]), case.tensors["centroids"]
    members = problem.keys if problem.candidates is None else problem.keys[:, problem.candidates]
    lists, probes = assign(problem, members, centroids), case.config["probes"]
    order = list_order(problem, centroids)
    outputs = {
        "indices": search_lists(problem, centroids, lists, torch.full((len(centroids),), probes)),
        "probes_used": probes_needed(order, lists, problem.K, problem.positions, probes),
        "recall_curve": recall_curve(problem, centroids, lists).mean(0),
    }
    if "recall_targets" in case.tensors:
        curve = outputs["recall_curve"][None]
        each = [probes_for(curve, target) for target in case.tensors["recall_targets"].tolist()]
        outputs["probes_for_recall"] = torch.cat(each)
    return outputs


def _clustering(case: Case) -> Mapping[str, Tensor]:
    points, first = case.tensors["input"][None], case.tensors["initial"]
    others = torch.ones(points.shape[1], dtype=torch.bool).index_fill(0, first, False).nonzero().flatten()
    metric = "cosine" if case.config["spherical"] else "euclidean"
    ordered, kernels = points[:, torch.cat([first, others])], _kernels(points)
    centroids, scores, repairs = kmeans(kernels, ordered, case.config["k"], metric, rounds=case.config["niter"])
    objective = torch.cat(scores)
    return {
        "centroids": centroids[0],
        "assignment": kernels.nearest(points, centroids, 1, metric, None, None)[0, :, 0],
        "objective": -objective if metric == "euclidean" else objective,
        "nsplit": torch.cat(repairs),
    }


def _refuse_codes(case: Case) -> None:
    raise Refused("product quantisation: it does not pay on maps of these sizes (1.9 times faster than exact at best)")


INPUTS = ("queries", "keys")

ENTRIES = {
    "IndexFlatL2/IndexFlatIP": Entry(lambda case: partial(_called, _flat, case), INPUTS),
    "IndexIVFFlat": Entry(lambda case: partial(_called, _inverted, case), INPUTS),
    "select.nearest, method inverted (our rule on Faiss lists)": Entry(
        lambda case: partial(_called, _nearest, case), INPUTS
    ),
    "Clustering": Entry(  # published in float32
        lambda case: partial(_called, _clustering, case), aside=("split_draws",), tolerance=1e-6
    ),
    "IndexIVFPQ + IndexRefineFlat": Entry(_refuse_codes),
    "IndexIVFPQ": Entry(_refuse_codes),
}


def _called(function: object, case: Case, *_: Tensor) -> Mapping[str, Tensor]:
    with torch.no_grad():
        return function(case)
