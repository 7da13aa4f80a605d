"""The choice of `select.nearest`: order, ties, NaN, samples and precision."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import METRICS, Neighbors, select


def _rows(batch: int, length: int, channels: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, length, channels, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _score(a: list[float], b: list[float], metric: str) -> float:
    if metric == "euclidean":
        return -sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    product = sum(p * q for p, q in zip(a, b, strict=True))
    if metric == "matmul":
        return product
    lengths = math.hypot(*a) * math.hypot(*b)
    return product / lengths if lengths else 0.0


def _scores(queries: Tensor, keys: Tensor, metric: str) -> Tensor:
    """Return scores (B, N, T), pair by pair."""
    return torch.tensor(
        [
            [[_score(q, k, metric) for k in image_keys] for q in image_queries]
            for image_queries, image_keys in zip(queries.tolist(), keys.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )


def _self_then(preference: list[int], K: int, length: int) -> Tensor:
    """Return every position itself, then the others in one order of preference."""
    return torch.tensor([[t, *[j for j in preference if j != t][: K - 1]] for t in range(length)])


@pytest.fixture(params=[1, 2], ids=["1-thread", "2-threads"])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 33, 40])
def test_best_scores_are_chosen_best_first(length: int, metric: str) -> None:
    queries, keys = _rows(2, 5, seed=1), _rows(2, length, seed=2)
    scores = _scores(queries, keys, metric)
    for K in {1, (length + 1) // 2, length}:
        chosen = select.nearest(queries, keys, K, metric=metric).indices
        assert chosen.shape == (2, 5, K)
        assert chosen.dtype == torch.int64
        best = scores.sort(dim=-1, descending=True).values[..., :K]
        torch.testing.assert_close(scores.gather(-1, chosen), best, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("length", range(1, 41, 3))
def test_self_comes_first_then_the_best_others(length: int, metric: str) -> None:
    rows = _rows(2, length)
    scores = _scores(rows, rows, metric).masked_fill(torch.eye(length, dtype=torch.bool), -math.inf)
    for K in {1, (length + 1) // 2, length}:
        chosen = select.nearest(rows, rows, K, metric=metric, positions=torch.arange(length)).indices
        assert torch.equal(chosen[..., 0], torch.arange(length).expand(2, -1))
        best = scores.sort(dim=-1, descending=True).values[..., : K - 1]
        torch.testing.assert_close(scores.gather(-1, chosen[..., 1:]), best, rtol=0, atol=1e-12)


def test_self_comes_first_even_when_it_scores_worst() -> None:
    rows = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.9, 0.1]]])  # the zero vector scores 0 with itself too
    chosen = select.nearest(rows, rows, 2, positions=torch.arange(3)).indices
    assert chosen[0].tolist() == [[0, 1], [1, 2], [2, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 7, 16, 33])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batch", [1, 3])
def test_constant_image_takes_lowest_indices(
    batch: int, metric: str, channels: int, dtype: torch.dtype, threads: int
) -> None:
    length = 15 * 17
    rows = _rows(batch, 1, channels, dtype=dtype).expand(-1, length, -1).contiguous()
    chosen = select.nearest(rows, rows, 9, metric=metric, positions=torch.arange(length)).indices
    assert torch.equal(chosen, _self_then(list(range(length)), 9, length).expand(batch, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [2, 3, 16, 33])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])  # a product may prefer the other tone
def test_two_tone_image_takes_lowest_indices_of_its_tone(
    metric: str, channels: int, dtype: torch.dtype, threads: int
) -> None:
    length = 15 * 17
    is_dark = torch.arange(length) % 3 == 0
    tones = _rows(1, 2, channels, dtype=dtype)[0]
    rows = tones[is_dark.long()].unsqueeze(0)
    chosen = select.nearest(rows, rows, 9, metric=metric, positions=torch.arange(length)).indices[0]
    for dark in (False, True):
        members = (is_dark == dark).nonzero().flatten().tolist()
        assert torch.equal(chosen[members], _self_then(members, 9, length)[members])


@pytest.mark.parametrize("metric", METRICS)
def test_ties_without_positions_and_among_candidates(metric: str) -> None:
    rows = torch.ones(1, 10, 3)
    assert select.nearest(rows, rows, 4, metric=metric).indices.eq(torch.arange(4)).all()
    candidates = torch.tensor([1, 4, 5, 8])
    chosen = select.nearest(rows, rows, 3, metric=metric, positions=torch.arange(10), candidates=candidates).indices
    assert torch.equal(chosen[0], _self_then([1, 4, 5, 8], 3, 10))


def test_ties_at_the_last_place_go_to_the_lowest_index() -> None:
    keys = torch.tensor([[[2.0], [1.0], [0.0], [-1.0], [1.0], [-1.0]]])
    query = torch.zeros(1, 1, 1)
    for K, expected in [(2, [2, 1]), (3, [2, 1, 3]), (4, [2, 1, 3, 4]), (5, [2, 1, 3, 4, 5])]:
        assert select.nearest(query, keys, K, metric="euclidean").indices[0, 0].tolist() == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_position_that_is_no_number_ranks_last(metric: str, bad: float) -> None:
    clean = _rows(3, 12, dtype=torch.float32)
    rows = clean.clone()
    rows[1, 5, 0] = bad
    positions = torch.arange(12)
    for K in (1, 6, 11):
        chosen = select.nearest(rows, rows, K, metric=metric, positions=positions).indices
        unharmed = select.nearest(clean, clean, K, metric=metric, positions=positions).indices
        assert torch.equal(chosen[[0, 2]], unharmed[[0, 2]])
        others = positions[positions != 5]
        assert not (chosen[1, others] == 5).any()
        assert chosen[1, 5, 0] == 5
    last = select.nearest(rows, rows, 12, metric=metric, positions=positions).indices
    assert (last[1, positions != 5, -1] == 5).all()
    full_order = select.nearest(rows, rows, 11, metric=metric, positions=positions).indices[1]
    expected = select.nearest(clean, clean, 12, metric=metric, positions=positions).indices[1]
    for t in others.tolist():
        assert full_order[t].tolist() == [j for j in expected[t].tolist() if j != 5]


@pytest.mark.parametrize("metric", METRICS)
def test_an_image_of_nan_takes_lowest_indices_and_leaves_the_others_alone(metric: str) -> None:
    clean = _rows(3, 12, dtype=torch.float32)
    rows = clean.clone()
    rows[1] = math.nan
    chosen = select.nearest(rows, rows, 5, metric=metric, positions=torch.arange(12)).indices
    unharmed = select.nearest(clean, clean, 5, metric=metric, positions=torch.arange(12)).indices
    assert torch.equal(chosen[[0, 2]], unharmed[[0, 2]])
    assert torch.equal(chosen[1], _self_then(list(range(12)), 5, 12))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nan_ranks_behind_a_distance_that_overflows(dtype: torch.dtype) -> None:
    far = torch.finfo(dtype).max ** 0.75  # its square is inf
    keys = torch.tensor([[[math.nan], [far], [1.0]]], dtype=dtype)
    chosen = select.nearest(torch.zeros(1, 1, 1, dtype=dtype), keys, 2, metric="euclidean").indices
    assert chosen[0, 0].tolist() == [2, 1]


def test_zero_vectors_score_zero_with_cosine() -> None:
    keys = torch.tensor([[[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 5.0]]])
    query = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    chosen = select.nearest(query, keys, 4).indices[0]
    assert chosen.tolist() == [[2, 3, 1, 0], [0, 1, 2, 3]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("K", [1, 2, 4, 5, 6])
def test_samples_are_ranked_and_never_their_own_neighbour(K: int, metric: str) -> None:
    length, candidates = 13, torch.tensor([0, 3, 4, 7, 11])
    rows = _rows(2, length)
    scores = _scores(rows, rows, metric)
    chosen = select.nearest(rows, rows, K, metric=metric, positions=torch.arange(length), candidates=candidates).indices
    for b, t in itertools.product(range(2), range(length)):
        others = [j for j in candidates.tolist() if j != t]
        others.sort(key=lambda j: (-scores[b, t, j].item(), j))
        expected = [t, *others[: K - 1]]
        expected += [t] * (K - len(expected))  # K = M + 1: a sample has one other too few
        assert chosen[b, t].tolist() == expected


@pytest.mark.parametrize("metric", METRICS)
def test_candidates_without_positions(metric: str) -> None:
    rows, candidates = _rows(1, 9), torch.tensor([2, 5, 6])
    chosen = select.nearest(rows, rows, 3, metric=metric, candidates=candidates).indices
    assert torch.equal(chosen.sort(dim=-1).values, candidates.expand(1, 9, 3))


@pytest.mark.parametrize("metric", METRICS)
def test_fewer_queries_than_keys_know_where_they_stand(metric: str) -> None:
    keys, positions = _rows(2, 11), torch.tensor([2, 3, 7])
    chosen = select.nearest(keys[:, positions], keys, 4, metric=metric, positions=positions).indices
    everyone = select.nearest(keys, keys, 4, metric=metric, positions=torch.arange(11)).indices
    assert torch.equal(chosen, everyone[:, positions])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_half_precision_is_scored_in_float32(metric: str, dtype: torch.dtype) -> None:
    rows = _rows(2, 60, 8).to(dtype)
    chosen = select.nearest(rows, rows, 9, metric=metric, positions=torch.arange(60)).indices
    exact = select.nearest(rows.float(), rows.float(), 9, metric=metric, positions=torch.arange(60)).indices
    assert torch.equal(chosen, exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_autocast_leaves_the_choice_alone(metric: str, dtype: torch.dtype) -> None:
    rows = _rows(2, 60, 8, dtype=torch.float32)
    exact = select.nearest(rows, rows, 9, metric=metric, positions=torch.arange(60)).indices
    with torch.autocast("cpu", dtype=dtype):
        chosen = select.nearest(rows, rows, 9, metric=metric, positions=torch.arange(60)).indices
    assert torch.equal(chosen, exact)


@pytest.mark.parametrize("metric", METRICS)
def test_the_choice_carries_no_gradient(metric: str) -> None:
    rows = _rows(1, 6).requires_grad_()
    neighbors = select.nearest(rows, rows, 3, metric=metric)
    assert not neighbors.indices.requires_grad
    assert neighbors.scores is None
    assert neighbors.K == 3


@pytest.mark.parametrize("shape", [(0, 6, 3), (2, 6, 0)], ids=["no-images", "no-channels"])
@pytest.mark.parametrize("metric", METRICS)
def test_empty_inputs(shape: tuple[int, ...], metric: str) -> None:
    rows = torch.zeros(shape)
    chosen = select.nearest(rows, rows, 3, metric=metric, positions=torch.arange(6)).indices
    assert torch.equal(chosen, _self_then(list(range(6)), 3, 6).expand(shape[0], -1, -1))


def test_raster_order_carries_the_scores_along() -> None:
    neighbors = Neighbors(torch.tensor([[[4, 0, 2]]]), torch.tensor([[[0.1, 0.2, 0.3]]])).in_raster_order()
    assert neighbors.indices.tolist() == [[[0, 2, 4]]]
    torch.testing.assert_close(neighbors.scores, torch.tensor([[[0.2, 0.3, 0.1]]]))
    assert Neighbors(torch.tensor([[[1, 0]]])).in_raster_order().scores is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": 0}, r"K=0 must lie between 1 and 6, the number of positions"),
        ({"K": 7}, r"K=7 must lie between 1 and 6, the number of positions"),
        ({"K": 5, "positions": torch.arange(6), "candidates": torch.tensor([1, 2, 3])}, r"K=5 must .* 1 and 4"),
        ({"K": 4, "candidates": torch.tensor([1, 2, 3])}, r"K=4 must .* 1 and 3"),
        ({"metric": "cosin"}, r"metric='cosin' is not one of cosine, euclidean, matmul; did you mean 'cosine'\?"),
        (
            {"queries": torch.zeros(6, 3)},
            r"queries of shape \(6, 3\) and torch.float32 must be floating and \(B, T, C\)",
        ),
        (
            {"keys": torch.zeros(2, 6, 3, dtype=torch.long)},
            r"keys of shape \(2, 6, 3\) and torch.int64 must be floating",
        ),
        ({"keys": torch.zeros(1, 6, 3)}, r"queries \(2, 6, 3\) and keys \(1, 6, 3\) must agree in batch and channels"),
        ({"keys": torch.zeros(2, 6, 4)}, r"queries \(2, 6, 3\) and keys \(2, 6, 4\) must agree in batch and channels"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_errors(changes: dict, message: str) -> None:
    arguments = {"queries": torch.zeros(2, 6, 3), "keys": torch.zeros(2, 6, 3), "K": 3} | changes
    with pytest.raises(ValueError, match=message) as error:
        select.nearest(**arguments)
    assert isinstance(error.value, InputError)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ({"positions": torch.arange(4)}, r"positions of shape \(4,\) and torch.int64 must be \(5,\) int64"),
        ({"positions": torch.zeros(5)}, r"positions of shape \(5,\) and torch.float32 must be \(5,\) int64"),
        (
            {"candidates": torch.zeros(2, 3).long()},
            r"candidates of shape \(2, 3\) and torch.int64 must be \(M,\) int64",
        ),
    ],
)
def test_indices_of_another_shape_or_type_are_named(indices: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select.nearest(torch.randn(1, 5, 2), torch.randn(1, 7, 2), 2, **indices)
