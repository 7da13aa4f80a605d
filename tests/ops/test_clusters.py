"""The clustered search: what it finds, in which lists, and how often."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from convnn.backends import reference
from convnn.errors import InputError
from convnn.ops import METRICS, clusters, select
from convnn.ops.clusters import Clusters, cost
from convnn.ops.kmeans import kmeans


def _walks(batch: int, length: int, channels: int = 8, seed: int = 0) -> Tensor:
    """Return rows with near and far ones, as those of images are."""
    return torch.randn(batch, length, channels, generator=torch.Generator().manual_seed(seed)).cumsum(1)


def _clustered(queries: Tensor, keys: Tensor, K: int, **settings: Any) -> Tensor:
    return select.nearest(queries, keys, K, method="clustered", **settings).indices


def _share_found(found: Tensor, exact: Tensor) -> float:
    return (found.unsqueeze(3) == exact.unsqueeze(2)).any(3).double().mean().item()


@pytest.mark.parametrize("sampled", [False, True], ids=["all", "candidates"])
@pytest.mark.parametrize("itself", [False, True], ids=["others", "itself"])
@pytest.mark.parametrize("metric", METRICS)
def test_with_every_list_open_it_is_the_exact_search(metric: str, itself: bool, sampled: bool) -> None:
    keys = _walks(2, 90)
    given: dict[str, Any] = {"metric": metric}
    given["positions"] = torch.arange(90) if itself else None
    given["candidates"] = torch.arange(0, 90, 2) if sampled else None
    exact = select.nearest(keys, keys, 7, **given).indices
    assert torch.equal(_clustered(keys, keys, 7, probes=6, lists=6, **given), exact)
    assert torch.equal(_clustered(keys, keys, 7, recall=1.0, **given), exact)  # few queries: all are in the sample


@pytest.mark.parametrize("metric", METRICS)
def test_every_query_chooses_as_the_loops_say(metric: str) -> None:
    keys, lists, probes, K = _walks(1, 40, 4), 7, 2, 5
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    by = "euclidean" if metric == "matmul" else metric
    centroids = kmeans(reference, keys[:, order], lists, by, rounds=2)[0]  # 16 keys a list are all of them

    def ranked(query: Tensor, rows: Tensor, compared: str) -> list[int]:
        return select.nearest(query.view(1, 1, -1), rows, rows.shape[1], metric=compared).indices.flatten().tolist()

    list_of = [ranked(key, centroids, by)[0] for key in keys[0]]
    found = _clustered(keys, keys, K, metric=metric, positions=torch.arange(40), probes=probes, lists=lists)
    for i, query in enumerate(keys[0]):
        best, opened = ranked(query, centroids, metric), probes
        while len(others := [j for j in range(40) if j != i and list_of[j] in best[:opened]]) < K - 1:
            opened += 1
        assert found[0, i].tolist() == [i, *[j for j in ranked(query, keys, metric) if j in others][: K - 1]]


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("metric", METRICS)
def test_the_recall_is_reached(metric: str, recall: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "FEWEST", 1000)
    keys = _walks(2, 1200)
    exact = select.nearest(keys, keys, 9, metric=metric).indices
    shares = [_share_found(_clustered(keys, keys, 9, metric=metric, recall=r), exact) for r in (recall, 1.0)]
    assert recall - 0.03 < shares[0] <= shares[1]  # measured on 256 of the queries
    assert shares[1] > 0.99


@pytest.mark.parametrize("settings", [{"probes": 2}, {"recall": 0.9}], ids=str)
def test_a_batch_is_its_images_and_a_seed_decides(settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "FEWEST", 300)
    keys = _walks(3, 300)
    search = partial(_clustered, K=9, positions=torch.arange(300), **settings)
    together = search(keys, keys)
    assert torch.equal(together, torch.cat([search(image, image) for image in keys.split(1)]))
    assert torch.equal(together, search(keys, keys))
    assert torch.equal(together, search(keys.clone(), keys))  # also where keys are not known to be the queries
    assert not torch.equal(together, search(keys, keys, seed=1))


@pytest.mark.parametrize("metric", METRICS)
def test_keys_that_are_queries_are_in_the_lists_that_they_open_first(metric: str) -> None:
    """Which is also found where every key is assigned anew, as with candidates."""
    keys, inner = _walks(2, 200), torch.arange(20, 190)
    given: dict[str, Any] = {"metric": metric, "positions": inner, "probes": 2}
    found = _clustered(keys[:, inner], keys, 5, **given)
    assert torch.equal(found, _clustered(keys[:, inner], keys, 5, candidates=torch.arange(200), **given))
    assert torch.equal(found, _clustered(keys[:, inner].clone(), keys, 5, **given))


@pytest.mark.parametrize("itself", [False, True], ids=["others", "itself"])
def test_a_query_opens_more_lists_until_it_has_enough(itself: bool) -> None:
    keys = _walks(2, 60)
    found = _clustered(keys, keys, 9, positions=torch.arange(60) if itself else None, probes=1, lists=60)
    assert all(len(set(row)) == 9 for row in found.flatten(0, 1).tolist())
    assert found.min() >= 0
    assert not itself or torch.equal(found[..., 0], torch.arange(60).expand(2, -1))


def test_with_as_few_candidates_as_neighbours_the_last_slot_is_the_query_again() -> None:
    keys, candidates = _walks(1, 20), torch.tensor([2, 5, 11])
    given: dict[str, Any] = {"positions": torch.arange(20), "candidates": candidates}
    exact = select.nearest(keys, keys, 4, **given).indices
    assert torch.equal(_clustered(keys, keys, 4, probes=1, lists=3, **given), exact)


@pytest.mark.parametrize("settings", [{"probes": 2}, {"recall": 0.9}], ids=str)
def test_a_batch_without_images_has_no_neighbours(settings: dict) -> None:
    keys = _walks(0, 300)  # more than are in the sample
    assert _clustered(keys, keys, 3, positions=torch.arange(300), **settings).shape == (0, 300, 3)


def test_without_candidates_a_query_chooses_itself() -> None:
    keys, positions = _walks(2, 20), torch.arange(20)
    given: dict[str, Any] = {"positions": positions, "candidates": positions[:0]}
    assert torch.equal(_clustered(keys, keys, 1, probes=1, **given), positions.view(1, 20, 1).expand(2, 20, 1))
    assert cost(20, 0, Clusters(probes=1)) == 20  # the one list is looked at


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, 0.0, 1e30])
@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_are_odd_disturb_no_others(metric: str, odd: float) -> None:
    keys = _walks(1, 320)
    keys[:, ::40] = odd
    found = _clustered(keys, keys, 9, metric=metric, positions=torch.arange(320), probes=3)
    assert all(len(set(row)) == 9 for row in found[0].tolist())
    if odd != odd:
        finite = keys[0].isfinite().all(1).nonzero().flatten()
        assert keys[0, found[0, finite]].isfinite().all()


def test_equal_rows_share_a_list_and_rank_by_index() -> None:
    keys = torch.ones(1, 300, 5)
    found = _clustered(keys, keys, 4, positions=torch.arange(300), probes=1)
    assert found[0, 0].tolist() == [0, 1, 2, 3]
    assert found[0, 200].tolist() == [200, 0, 1, 2]


def test_the_choice_compiles_and_maps() -> None:
    keys = _walks(2, 70)
    search = partial(_clustered, K=3, positions=torch.arange(70), probes=2)
    expected = search(keys, keys)
    assert torch.equal(torch.compile(search, fullgraph=True, backend="eager")(keys, keys), expected)
    assert torch.equal(torch.vmap(lambda one: search(one[None], one[None])[0])(keys), expected)


def test_its_cost_grows_more_slowly_than_that_of_all_pairs() -> None:
    costs = [cost(side**2, side**2, Clusters(recall=0.95)) for side in (32, 64, 128, 256)]
    assert costs[0] == 32**4  # exact
    assert 4 < costs[2] / costs[1] < 12
    assert 4 < costs[3] / costs[2] < 12
    assert costs[2] < 128**4 / 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recall": 0.0}, r"^recall=0 must be above 0 and at most 1$"),
        ({"recall": 1.5}, r"^recall=1.5 must be above 0 and at most 1$"),
        ({"recall": 0.9, "probes": 2}, r"^recall=0.9 and probes=2 must not both be given$"),
        ({"probes": 0}, r"^probes=0 must be an integer of at least 1$"),
        ({"lists": 31}, r"^lists=31 must lie between 1 and 30, the number of keys$"),
        ({"probes": 5, "lists": 4}, r"^probes=5 must lie between 1 and 4, the number of lists$"),
        ({"probes": 12}, r"^probes=12 must lie between 1 and 11, the number of lists$"),
        ({"seed": -1}, r"^seed=-1 must be an integer of at least 0$"),
        ({"seed": 1.5}, r"^seed=1.5 must be an integer of at least 0$"),
        ({"method": "inverted"}, r"^method='inverted' is not one of exact, clustered$"),
        (
            {"method": "exact", "recall": 0.9},
            r"^recall=0.9 must be None with method='exact'; choose ",
        ),
        ({"method": "exact", "seed": 3}, r"^seed=3 must be 0 with method='exact'; choose method='clustered'$"),
    ],
    ids=str,
)
def test_errors(settings: dict, message: str) -> None:
    keys = _walks(1, 30)
    with pytest.raises(InputError, match=message):
        select.nearest(keys, keys, 3, **({"method": "clustered"} | settings))


# Faiss as the oracle.


def _faiss_order(count: int) -> list[int]:
    """Return the order of the points, of which the first are Faiss's initial centroids."""
    order, raw = list(range(count)), np.frombuffer(np.random.RandomState(1235).bytes(4 * count), "<u4")
    for i in range(count - 1):
        other = i + int(raw[i]) % (count - i)
        order[i], order[other] = order[other], order[i]
    return order


@pytest.mark.parametrize("repeated", [0, 3], ids=["distinct", "repeated"])
def test_k_means_is_that_of_faiss(repeated: int) -> None:
    """Equal initial centroids are without points, but for the first of them, and are moved."""
    faiss = pytest.importorskip("faiss")
    points = (np.random.default_rng(0).integers(-128, 128, (120, 6)) / 256).astype(np.float32)
    order = _faiss_order(120)
    points[order[1 : 1 + repeated]] = points[order[0]]
    theirs = faiss.Clustering(6, 12)
    theirs.niter, theirs.min_points_per_centroid = 4, 1
    theirs.train(points, faiss.IndexFlatL2(6))
    repaired = [theirs.iteration_stats.at(i).nsplit for i in range(theirs.iteration_stats.size())]
    centroids, _, repairs = kmeans(reference, torch.from_numpy(points[order])[None].double(), 12, "euclidean", rounds=4)
    assert [int(n) for n in repairs] == repaired
    assert (sum(repaired) > 0) == (repeated > 0)
    expected = torch.from_numpy(faiss.vector_to_array(theirs.centroids)).view(12, 6).double()
    torch.testing.assert_close(centroids[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "matmul"])
def test_lists_are_searched_as_by_faiss(metric: str) -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    keys, queries, centroids = ((rng.integers(-128, 128, (n, 16)) / 256).astype(np.float32) for n in (400, 50, 20))
    products = metric == "matmul"
    flat = (faiss.IndexFlatIP if products else faiss.IndexFlatL2)(16)
    flat.add(centroids)
    index = faiss.IndexIVFFlat(flat, 16, 20, faiss.METRIC_INNER_PRODUCT if products else faiss.METRIC_L2)
    index.nprobe = 3
    index.add(keys)
    expected = torch.from_numpy(index.search(queries, 5)[1])
    rows, asked, middles = (torch.from_numpy(one)[None] for one in (keys, queries, centroids))
    lists = select.nearest(rows, middles, 1, metric=metric).indices[..., 0]
    opened = select.nearest(asked, middles, 3, metric=metric).indices
    found = reference.nearest_in_lists(asked, rows, 5, metric, None, lists, opened, 20)
    assert torch.equal(found[0], expected)
