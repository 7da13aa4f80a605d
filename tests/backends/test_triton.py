"""The Triton kernels against the definition: on a GPU if there is one, else in Triton's interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.backends import reference, triton
from convnn.backends.request import Request
from convnn.ops import select
from ill_conditioned import cases
from pairwise import one_in, only, sweep

RUNS = not triton.unavailable_reasons()
DEVICE = "cpu" if triton.INTERPRETS or not torch.cuda.is_available() else "cuda"
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
TYPE_NAMES = ", ".join(str(dtype).removeprefix("torch.") for dtype in triton.DTYPES)
METRICS = ("cosine", "euclidean", "matmul")

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
needs_kernels = pytest.mark.skipif(not RUNS, reason="; ".join(triton.unavailable_reasons()))


@pytest.mark.slow
@pytest.mark.skipif(RUNS, reason="the kernels run in this process")
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("marked", only("not long".__eq__, ["not long", "long"]))
def test_these_files_in_the_interpreter(marked: str) -> None:
    # In a new process, because the interpreter must be enabled before kernels are defined.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", marked]
    command += sorted(map(str, Path(__file__).parent.glob("test_triton*.py")))
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill outputs, so that values that a kernel does not write cannot be right by chance."""

    def fill(x: Tensor) -> Tensor:
        return x.fill_(float("nan")) if x.is_floating_point() else x.fill_(min(2**30, torch.iinfo(x.dtype).max))

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
        allocate = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *sizes, _allocate=allocate, **kind: fill(_allocate(*sizes, **kind)))


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def neighbors(batch: int, count: int, K: int, length: int) -> Tensor:
    return torch.randint(length, (batch, count, K), generator=torch.Generator().manual_seed(1)).to(DEVICE)


def assert_same_choice(queries: Tensor, keys: Tensor, K: int, metric: str, *restrictions: Tensor | None) -> None:
    restrictions = restrictions or (None, None)
    chosen = triton.nearest(queries, keys, K, metric, *restrictions)
    expected = reference.nearest(queries, keys, K, metric, *restrictions)
    torch.testing.assert_close(chosen, expected, rtol=0, atol=0)


# The search.

SIZES = [
    (63, 1, 9), (64, 3, 9), (65, 65, 9), (1, 3, 1), (65, 3, 1),
    (40, 8, 31), (66, 9, 32), (40, 3, 33), (64, 3, 64),
]  # fmt: skip


@needs_kernels
@pytest.mark.parametrize(("size", "metric"), one_in(7, product(SIZES, METRICS)), ids=str)
def test_nearest(size: tuple[int, int, int], metric: str) -> None:
    length, channels, K = size
    assert_same_choice(rows(2, 3, channels), rows(2, length, channels, seed=1), K, metric)


@needs_kernels
@sweep(size=[(31, 5), (33, 2), (32, 1)], sampled=[False, True], metric=METRICS)
def test_nearest_knows_itself(size: tuple[int, int], sampled: bool, metric: str) -> None:
    count, K = size
    keys, positions = rows(1, 70, 4), torch.arange(70, device=DEVICE)[5 : 5 + count]
    candidates = torch.arange(0, 70, 7, device=DEVICE) if sampled else None
    assert_same_choice(keys[:, positions], keys, K, metric, positions, candidates)


@needs_kernels
def test_nearest_among_fewer_others_repeats_itself() -> None:
    keys, positions = rows(2, 9, 3), torch.arange(9, device=DEVICE)
    assert_same_choice(keys, keys, 4, "cosine", positions, torch.tensor([1, 4, 6], device=DEVICE))


TONES = {
    "constant": [[0.3, 0.3, 0.3]],
    "black": [[0.0, 0.0, 0.0]],
    "two-grays": [[0.1, 0.1, 0.1], [0.7, 0.7, 0.7]],
    "two-colours": [[0.1, 0.5, 0.9], [0.7, 0.2, 0.3]],
}


@needs_kernels
@pytest.mark.parametrize(("tones", "metric"), one_in(5, product(TONES, METRICS)))
def test_nearest_takes_equal_scores_by_lowest_index(tones: str, metric: str) -> None:
    which = torch.randint(len(TONES[tones]), (1, 67), generator=torch.Generator().manual_seed(0))
    keys, positions = torch.tensor(TONES[tones])[which].to(DEVICE), torch.arange(67, device=DEVICE)
    assert_same_choice(keys, keys, 9, metric, positions, None)
    assert_same_choice(keys[:, :4], keys, 9, metric)


@needs_kernels
@pytest.mark.parametrize("metric", METRICS)
def test_nearest_of_few_levels(metric: str) -> None:
    keys = torch.randint(3, (1, 66, 12), generator=torch.Generator().manual_seed(0)).to(DEVICE) / 7
    assert_same_choice(keys[:, :20], keys, 9, metric)


@needs_kernels
@pytest.mark.parametrize(
    ("odd", "channels", "metric"), one_in(7, product([float("nan"), float("inf"), 0.0, 1e30, 1e-30], [3, 20], METRICS))
)
def test_nearest_of_odd_rows(odd: float, channels: int, metric: str) -> None:
    keys = rows(1, 20, channels)
    keys[:, [2, 5, 11]] = odd
    positions = torch.arange(20, device=DEVICE)
    assert_same_choice(keys, keys, 19, metric, positions, None)


@needs_kernels
@pytest.mark.parametrize(("metric", "dtype"), one_in(4, product(METRICS, DTYPES)), ids=str)
def test_nearest_of_other_types_and_strides(metric: str, dtype: torch.dtype) -> None:
    keys = rows(2, 18, 10, dtype=dtype).transpose(1, 2)
    assert_same_choice(keys[:, ::2], keys, 4, metric)
    assert_same_choice(keys[:1, :1].expand(2, 3, 18), keys, 4, metric)


@needs_kernels
@pytest.mark.parametrize(("count", "longest"), only(lambda one: one[0] < 1000, [(27, 35), (1000, 70)]))
def test_nearest_of_rows_that_are_hard_to_tell_apart(count: int, longest: int) -> None:
    for case in cases(count, longest=longest, widest=40):
        (*arguments,) = (one.to(DEVICE) if isinstance(one, Tensor) else one for one in case[1:])
        assert_same_choice(*arguments)


@needs_kernels
@pytest.mark.parametrize("known", only(bool, [True, False]), ids=["positions", "queries"])
def test_nearest_in_several_passes(known: bool, few_slots: None) -> None:
    keys = rows(1, 20, 3)
    keys[:, 10:18] = keys[:, :1]  # a tie across two passes
    assert_same_choice(keys, keys, 10, "euclidean", torch.arange(20, device=DEVICE) if known else None, None)


@pytest.fixture
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep four neighbours in registers, so that more of them need a second pass."""
    from convnn.backends.triton import select as kernels

    monkeypatch.setattr(kernels, "MAX_SLOTS", 4)


# The search in lists.

# Queries, keys, channels, K, lists, and lists that a query opens.
IN_LISTS = [
    (33, 70, 3, 5, 6, 2), (5, 40, 20, 7, 40, 3), (40, 33, 9, 33, 1, 1), (1, 90, 2, 4, 3, 5),
    (3, 10, 5, 12, 3, 0), (64, 64, 1, 1, 7, 7), (0, 9, 3, 2, 2, 1),
]  # fmt: skip


@needs_kernels
@pytest.mark.parametrize(("size", "metric"), one_in(5, product(IN_LISTS, METRICS)), ids=str)
def test_nearest_in_lists(size: tuple[int, ...], metric: str) -> None:
    count, length, channels, K, num_lists, probes = size
    keys = rows(2, length, channels, seed=1)
    assert_same_choice_in_lists(rows(2, count, channels), keys, K, metric, None, num_lists, probes)


@needs_kernels
@pytest.mark.parametrize("metric", METRICS)
def test_nearest_in_lists_of_odd_rows(metric: str) -> None:
    keys, positions = rows(1, 40, 4), torch.arange(40, device=DEVICE).flip(0)[:34]
    keys[:, 5:30:5] = 0
    keys[:, 3:9] = keys[:, 20:26]  # ties
    keys[:, [7, 11, 12]] = torch.tensor([float("nan"), float("inf"), 1e30], device=DEVICE)[:, None]
    assert_same_choice_in_lists(keys[:, positions], keys, 9, metric, positions, 4, 3)


@needs_kernels
@pytest.mark.parametrize("dtype", triton.DTYPES, ids=str)
def test_nearest_in_lists_of_other_types_and_strides(dtype: torch.dtype, few_slots: None) -> None:
    keys = rows(2, 18, 40, dtype=dtype).mT
    assert_same_choice_in_lists(keys[:, ::2], keys, 9, "cosine", torch.arange(0, 40, 2, device=DEVICE), 3, 2)


@needs_kernels
@pytest.mark.parametrize("count", [2, pytest.param(300, marks=pytest.mark.long)])
def test_nearest_in_lists_of_rows_that_are_hard_to_tell_apart(count: int) -> None:
    for number, case in enumerate(cases(count, longest=50, widest=20)):
        keys, positions = case.keys.to(DEVICE), case.positions
        positions = None if positions is None else positions.to(DEVICE)
        sizes = 1 + number % 9, 1 + number % 4
        assert_same_choice_in_lists(case.queries.to(DEVICE), keys, case.K, case.metric, positions, *sizes)


@needs_kernels
@pytest.mark.parametrize("restricted", [False, pytest.param(True, marks=pytest.mark.long)], ids=["all", "candidates"])
def test_nearest_in_clusters(restricted: bool) -> None:
    keys, positions = rows(1, 32, 3), torch.arange(32, device=DEVICE)
    settings = {
        "positions": positions,
        "candidates": positions[::2] if restricted else None,
        "method": "clustered",
        "lists": 5,
        "probes": 2,
    }
    chosen = select.nearest(keys, keys, 6, backend="triton", **settings).indices
    assert torch.equal(chosen, select.nearest(keys, keys, 6, backend="reference", **settings).indices)


def assert_same_choice_in_lists(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, num_lists: int, probes: int
) -> None:
    """Compare with the definition; some keys are in no list, and lists are opened twice or not named."""
    generator = torch.Generator().manual_seed(3)
    lists = torch.randint(-1, num_lists, keys.shape[:2], generator=generator).to(DEVICE)
    opened = torch.randint(-1, num_lists, (*queries.shape[:2], probes), generator=generator).to(DEVICE)
    arguments = (queries, keys, K, metric, positions, lists, opened, num_lists)
    chosen = triton.nearest_in_lists(*arguments)
    torch.testing.assert_close(chosen, reference.nearest_in_lists(*arguments), rtol=0, atol=0)


# The choice among short lists.


@needs_kernels
@pytest.mark.parametrize(
    ("size", "unlike", "metric"),
    one_in(5, product([(1, 1, 1, 1), (7, 9, 4, 3), (33, 5, 3, 40), (64, 2, 7, 33)], [False, True], METRICS)),
    ids=str,
)
def test_one_of_each(size: tuple[int, int, int, int], unlike: bool, metric: str) -> None:
    count, K, M, channels = size
    queries, keys = rows(2, count, channels), rows(2, 30, channels, seed=1)
    keys[:, 10:20] = keys[:, :10]  # ties
    keys[:, 25] = 0
    keys[:, 26] = float("nan")
    choices = neighbors(count, K, M, 30)
    chosen = triton.one_of_each(queries, keys, choices, metric, unlike)
    expected = reference.one_of_each(queries, keys, choices, metric, unlike)
    torch.testing.assert_close(chosen, expected, rtol=0, atol=0)


@needs_kernels
@pytest.mark.parametrize("dtype", triton.DTYPES)
def test_one_of_each_of_other_types_and_strides(dtype: torch.dtype) -> None:
    queries, keys = rows(2, 5, 9, dtype=dtype).mT, rows(2, 5, 20, seed=1, dtype=dtype).mT
    choices = neighbors(9, 4, 3, 20)
    chosen = triton.one_of_each(queries, keys, choices, "cosine", True)
    torch.testing.assert_close(chosen, reference.one_of_each(queries, keys, choices, "cosine", True), rtol=0, atol=0)


# Attention between blocks.

# Queries, keys, widths of keys and of values, and queries and keys of a block.
BETWEEN_BLOCKS = [
    (40, 41, 8, 8, 32, 16), (5, 9, 3, 7, 4, 3), (1, 1, 1, 1, 128, 64), (0, 3, 4, 4, 8, 8), (50, 45, 20, 33, 40, 35),
    (20, 40, 130, 5, 16, 16),
]  # fmt: skip


@needs_kernels
@pytest.mark.parametrize(("size", "dtype"), one_in(3, product(BETWEEN_BLOCKS, triton.DTYPES)), ids=str)
def test_attend_to_blocks(size: tuple[int, ...], dtype: torch.dtype) -> None:
    count, length, channels, of_values, *block = size
    queries, keys = rows(2, channels, count, dtype=dtype).mT, 2 * rows(2, length, channels, seed=1, dtype=dtype)
    values = rows(2, length, of_values, seed=2, dtype=dtype)
    is_open = torch.rand(2, -(-count // block[0]), -(-length // block[1]), generator=torch.Generator().manual_seed(3))
    is_open = (is_open < 0.4) | (is_open == is_open.amax(2, keepdim=True))
    arguments = (queries, keys, values, is_open.to(DEVICE), *block)
    out = triton.attend_to_blocks(*arguments)
    torch.testing.assert_close(out, reference.attend_to_blocks(*arguments), **TOLERANCES[dtype])
    grad = rows(2, of_values, count, seed=4, dtype=dtype).mT
    gradients = triton.attend_to_blocks_backward(grad, *arguments)
    torch.testing.assert_close(gradients, reference.attend_to_blocks_backward(grad, *arguments), **TOLERANCES[dtype])


@needs_kernels
def test_keys_that_nobody_opens_have_no_gradient() -> None:
    one = rows(1, 8, 3)
    is_open = torch.tensor([[[True, False]] * 2], device=DEVICE)
    for gradient in triton.attend_to_blocks_backward(one, one, one, one, is_open, 4, 4)[1:]:
        assert gradient[0, :4].ne(0).all()
        assert gradient[0, 4:].eq(0).all()


@needs_kernels
def test_attend_to_blocks_of_odd_rows() -> None:
    queries, keys, values = rows(1, 8, 3), rows(1, 8, 3, seed=1), rows(1, 8, 3, seed=2)
    keys[:, :2], queries[:, 4] = torch.tensor([float("inf"), -float("inf")])[:, None], float("nan")
    arguments = (queries, keys, values, torch.eye(4, device=DEVICE).bool()[None] | True, 2, 2)
    expected = reference.attend_to_blocks(*arguments)
    torch.testing.assert_close(
        triton.attend_to_blocks(*arguments), expected, equal_nan=True, **TOLERANCES[torch.float32]
    )


# The maximum.


@needs_kernels
@sweep(
    size=[(1, 1, 1), (7, 9, 3), (17, 5, 65), (0, 2, 3)], scored=[False, True], centered=[False, True],
    absent=[False, True],
)  # fmt: skip
def test_largest(size: tuple[int, int, int], scored: bool, centered: bool, absent: bool) -> None:
    count, K, channels = size
    values, indices = rows(2, 30, channels), neighbors(2, count, K, 30)
    values[:, 10:20] = values[:, :10]  # ties
    scores = rows(2, count, K, seed=2) if scored else None
    centers = rows(2, count, channels, seed=3) if centered else None
    check_largest(values, indices, scores, absent_ones(indices) if absent else None, centers)


@needs_kernels
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 0.0, -0.0], ids=str)
def test_largest_of_odd_rows(odd: float) -> None:
    values, indices = rows(1, 9, 5), neighbors(1, 40, 4, 9)
    values[:, ::2] = odd
    values[:, 1, 2] = float("nan")
    check_largest(values, indices, rows(1, 40, 4, seed=2), absent_ones(indices), rows(1, 40, 5, seed=3))
    check_largest(values, indices, None, absent_ones(indices), None)


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_largest_of_other_types_and_strides(dtype: torch.dtype) -> None:
    values, centers = rows(2, 6, 10, dtype=dtype).mT, rows(2, 6, 9, seed=1, dtype=dtype).mT
    indices = neighbors(2, 4, 9, 10).mT
    check_largest(values, indices, rows(2, 4, 9, seed=2).mT, absent_ones(indices), centers)
    check_largest(values[:1].expand(2, 10, 6), indices, None, None, None)


def absent_ones(indices: Tensor) -> Tensor:
    """Return a mask with half of the neighbours absent, never the first."""
    absent = torch.rand(indices.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    absent[..., :1] = False
    return absent.to(DEVICE)


def check_largest(*arguments: Tensor | None) -> None:
    torch.testing.assert_close(triton.largest(*arguments), reference.largest(*arguments), rtol=0, atol=0)


# Similarity of pairs.


@needs_kernels
@pytest.mark.parametrize(
    ("size", "channels", "metric"), one_in(5, product([(1, 1), (7, 9), (33, 2)], [1, 3, 65], METRICS)), ids=str
)
def test_similarity(size: tuple[int, int], channels: int, metric: str) -> None:
    count, K = size
    queries, keys = rows(2, count, channels), rows(2, 11, channels, seed=1)
    queries[:, 0], keys[:, 3] = 0, 0
    check_similarity(queries, keys, neighbors(2, count, K, 11), metric)


@needs_kernels
@pytest.mark.parametrize(("dtype", "metric"), one_in(2, product([torch.float16, torch.bfloat16], METRICS)), ids=str)
def test_similarity_of_other_types_and_strides(dtype: torch.dtype, metric: str) -> None:
    keys = rows(2, 6, 10, dtype=dtype).transpose(1, 2)
    indices = neighbors(2, 4, 5, 10).transpose(1, 2)
    check_similarity(keys[:, ::2], keys, indices, metric)


@needs_kernels
@pytest.mark.parametrize("metric", METRICS)
def test_similarity_when_all_choose_one(metric: str) -> None:
    queries, keys = rows(1, 20, 3), rows(1, 4, 3, seed=1)
    check_similarity(queries, keys, torch.full((1, 20, 2), 3, device=DEVICE), metric)


def check_similarity(queries: Tensor, keys: Tensor, indices: Tensor, metric: str) -> None:
    scores = triton.similarity(queries, keys, indices, metric)
    torch.testing.assert_close(scores, reference.similarity(queries, keys, indices, metric))
    grad = rows(*indices.shape, seed=2)
    found = triton.similarity_backward(grad, queries, keys, indices, metric)
    expected = reference.similarity_backward(grad, queries, keys, indices, metric)
    torch.testing.assert_close(found, expected, **TOLERANCES[keys.dtype])
    assert all(torch.equal(*pair) for pair in zip(found, triton.similarity_backward(
        grad, queries, keys, indices, metric), strict=True))  # fmt: skip


# The kernel over the neighbours.

TOLERANCES = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.float16: {"rtol": 1e-2, "atol": 1e-2},
    torch.bfloat16: {"rtol": 5e-2, "atol": 1e-1},
}

FORMS = [
    (1, 1, 1), (3, 5, 1), (17, 63, 1), (65, 64, 1), (16, 65, 1),
    (3, 3, 3), (65, 65, 65), (4, 12, 4),
]  # fmt: skip


@needs_kernels
@pytest.mark.parametrize(
    ("form", "with_bias", "scored"), one_in(5, product(FORMS, [False, True], [False, True])), ids=str
)
def test_convolve(form: tuple[int, int, int], with_bias: bool, scored: bool) -> None:
    channels, outputs, groups = form
    check_convolve(*case(2, 9, 10, channels, outputs, 4, groups, scored), groups, with_bias)


OTHER_SIZES = [(1, 31, 5, 1), (2, 32, 3, 2), (3, 43, 7, 3), (1, 2, 40, 33), (0, 3, 4, 2), (2, 0, 4, 2)]


@needs_kernels
@pytest.mark.parametrize(
    ("groups", "size"),
    [
        *only(lambda one: one[1] in OTHER_SIZES[::4], product([1], OTHER_SIZES)),
        *only(lambda one: one[1] in OTHER_SIZES[1::2], product([3], OTHER_SIZES)),
    ],
    ids=str,
)
def test_convolve_of_other_sizes(groups: int, size: tuple[int, int, int, int]) -> None:
    batch, count, length, K = size
    check_convolve(*case(batch, count, length, 3, 3, K, groups, True), groups, True)


@needs_kernels
@pytest.mark.parametrize(
    ("groups", "dtype"),
    [(1, dtype) for dtype in triton.DTYPES] + [(6, dtype) for dtype in DTYPES],
    ids=lambda one: str(one) if isinstance(one, torch.dtype) else {1: "dense", 6: "depthwise"}[one],
)
def test_convolve_of_other_types_and_strides(groups: int, dtype: torch.dtype) -> None:
    _, indices, scores, weight = case(2, 5, 7, 6, 6, 4, groups, True)
    values = rows(2, 6, 7, dtype=dtype).transpose(1, 2)
    indices, scores = indices.transpose(0, 1).contiguous().transpose(0, 1), scores[:, :1].expand(2, 5, 4)
    check_convolve(values, indices, scores, weight.to(dtype).transpose(0, 1).contiguous().transpose(0, 1), groups, True)


@needs_kernels
@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize("groups", [1, 3], ids=["dense", "depthwise"])
def test_convolve_when_all_choose_one(groups: int, scored: bool) -> None:
    values, indices, scores, weight = case(2, 20, 4, 3, 3, 4, groups, scored)
    check_convolve(values, torch.full_like(indices, 2), scores, weight, groups, True)


@needs_kernels
@pytest.mark.parametrize("slots", one_in(3, [1, 2, 3]))
def test_convolve_in_parts_of_the_slots(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from convnn.backends.triton import _dense_spread

    monkeypatch.setattr(_dense_spread, "_BUFFER", slots * 2 * 9 * 3 * 4)
    check_convolve(*case(2, 9, 10, 3, 5, 4, 1, True), 1, True)


@needs_kernels
def test_weight_is_summed_in_several_parts() -> None:
    check_convolve(*case(2, 70, 10, 3, 5, 2, 1, True), 1, True)


@needs_kernels
@pytest.mark.parametrize("groups", [1, 3], ids=["dense", "depthwise"])
@pytest.mark.parametrize("needed", [0, 1, 2], ids=["values", "scores", "weight"])
def test_only_the_gradients_needed(needed: int, groups: int) -> None:
    needs = [i == needed for i in range(3)]
    found = triton.convolve_backward(rows(2, 9, 3, seed=5), *case(2, 9, 10, 3, 3, 4, groups, True), groups, needs)
    assert [one is not None for one in found] == needs


def case(
    batch: int, count: int, length: int, channels: int, outputs: int, K: int, groups: int, scored: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    values, indices = rows(batch, length, channels), neighbors(batch, count, K, length)
    scores = rows(batch, count, K, seed=2) if scored else None
    return values, indices, scores, rows(outputs, channels // groups, K, seed=3)


def check_convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, groups: int, with_bias: bool
) -> None:
    bias = rows(len(weight), 2, seed=4, dtype=values.dtype)[:, 0] if with_bias else None
    tolerance = TOLERANCES[values.dtype]
    out = triton.convolve(values, indices, scores, weight, bias, groups)
    assert out.is_contiguous()
    torch.testing.assert_close(out, reference.convolve(values, indices, scores, weight, bias, groups), **tolerance)
    needs = [True, scores is not None, True]
    arguments = (rows(*out.shape, seed=5, dtype=out.dtype), values, indices, scores, weight, groups, needs)
    found = triton.convolve_backward(*arguments)
    for one, expected in zip(found, reference.convolve_backward(*arguments), strict=True):
        assert (one is None) == (expected is None)
        if one is not None:
            torch.testing.assert_close(one, expected, **tolerance)
    for one, again in zip(found, triton.convolve_backward(*arguments), strict=True):
        assert one is again is None or torch.equal(one, again)


# What it runs, and what not.


def request(**changes: object) -> Request:
    return Request("nearest", torch.device("cuda"), torch.float32, 9, 12)._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"dtype": torch.float64},
            f"dtype must be one of {', '.join(str(one)[6:] for one in triton.DTYPES)}, not float64",
        ),
        ({"operator": "convolve", "groups": 3}, "groups must be 1 or the 12 channels, not 3"),
        ({"operator": "attend_to_blocks", "channels": 257}, "heads must have at most 256 channels, not 257"),
        ({"device": torch.device("meta")}, "device must be cuda, or cpu under TRITON_INTERPRET=1, not meta"),
    ],
    ids=["dtype", "groups", "heads", "device"],
)
def test_unsupported(changes: dict[str, object], reason: str) -> None:
    assert triton.unsupported_reasons(request(**changes)) == [*triton.unavailable_reasons(), reason]


@pytest.mark.parametrize(
    "changes", [{}, {"K": 1000}, {"operator": "nearest_in_clusters"}, {"operator": "convolve", "groups": 12}], ids=str
)
def test_supported_where_available(changes: dict[str, object]) -> None:
    assert triton.unsupported_reasons(request(**changes)) == triton.unavailable_reasons()


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(triton, "nearest_of_all")
