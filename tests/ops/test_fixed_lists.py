"""Neighbours at fixed places: their choice, empty slots, and the steps from scores to weights."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from convnn.errors import InputError
from convnn.ops import Neighbors, aggregate, select, weigh
from pairwise import sweep

LENGTHS = [1, 2, 3, 7, 8, 13, 20]
BACKENDS = ["auto", "reference"]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _present(neighbors: Neighbors) -> list[list[int]]:
    """Return the neighbours of each query of the only list, in the order of the slots."""
    (indices,), (absent,) = neighbors.indices, neighbors.absent
    rows = zip(indices.tolist(), absent.tolist(), strict=True)
    return [[j for j, gone in zip(*row, strict=True) if not gone] for row in rows]


def _starts(n: int, k: int) -> list[int]:
    return [min(max(i - k // 2, 0), n - k) for i in range(n)]


@pytest.mark.parametrize("length", LENGTHS)
def test_window_of_a_sequence(length: int) -> None:
    for k in range(1, length + 1):
        neighbors = select.window([length], [k])
        assert neighbors.indices.dtype == torch.int64
        assert neighbors.indices.shape == (1, length, k)
        assert neighbors.scores is None
        assert neighbors.absent is None
        assert neighbors.indices[0].tolist() == [list(range(start, start + k)) for start in _starts(length, k)]


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 6), (6, 1), (4, 4), (3, 5), (1, 1, 1), (3, 2, 4), (2, 4, 3), (5, 1, 2)], ids=str
)
def test_window_of_a_map(size: tuple[int, ...]) -> None:
    places = list(itertools.product(*map(range, size)))
    for window in itertools.product(*(range(1, n + 1) for n in size)):
        starts = [_starts(n, k) for n, k in zip(size, window, strict=True)]
        expected = []
        for place in places:
            sides = [range(s[p], s[p] + k) for s, p, k in zip(starts, place, window, strict=True)]
            expected.append([places.index(other) for other in itertools.product(*sides)])
        assert select.window(size, window).indices.tolist() == [expected]


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 5, 7, 9])
def test_a_dilated_window_is_one_among_every_so_many(length: int, dilation: int) -> None:
    for k in range(1, length // dilation + 1):
        found = select.window([length], [k], [dilation]).indices[0]
        for rest in range(dilation):
            line = torch.arange(rest, length, dilation)
            assert torch.equal(found[line], line[select.window([len(line)], [k]).indices[0]])


def test_a_window_dilated_along_one_axis() -> None:
    found = select.window([4, 3], [2, 3], [2, 1]).indices[0]
    rows, columns = select.window([4], [2], [2]).indices[0], select.window([3], [3]).indices[0]
    expected = rows[:, None, :, None] * 3 + columns[None, :, None, :]
    assert torch.equal(found, expected.reshape(12, 6))


def test_an_odd_window_has_its_query_in_the_middle_but_at_the_border() -> None:
    indices = select.window([6, 7], [3, 5]).indices.view(6, 7, 15)
    assert torch.equal(indices[1:-1, 2:-2, 7], torch.arange(42).view(6, 7)[1:-1, 2:-2])
    assert torch.equal(indices[0, 0], indices[1, 2])


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 6, 7, 50])
@pytest.mark.parametrize("length", LENGTHS)
def test_within(length: int, reach: int) -> None:
    neighbors = select.within(length, reach)
    assert neighbors.indices.shape == neighbors.absent.shape == (1, length, min(2 * reach + 1, length))
    assert neighbors.scores is None
    assert _present(neighbors) == [[j for j in range(length) if abs(i - j) <= reach] for i in range(length)]
    assert neighbors.indices.min() >= 0
    assert neighbors.indices.max() < length


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7, 8, 50])
@pytest.mark.parametrize("length", LENGTHS)
def test_strided(length: int, stride: int) -> None:
    neighbors = select.strided(length, stride)
    assert neighbors.indices.shape == neighbors.absent.shape == (1, length, math.ceil(length / stride))
    assert neighbors.scores is None
    assert _present(neighbors) == [[j for j in range(length) if (i - j) % stride == 0] for i in range(length)]
    assert neighbors.indices.min() >= 0
    assert neighbors.indices.max() < length


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select.window([5], [6]), r"^kernel_size=\(6,\) must lie between 1 and the \(5,\) positions"),
        (lambda: select.window([5], [0]), r"^kernel_size=\(0,\) must lie between 1 and the \(5,\) positions"),
        (lambda: select.window([5, 3], [3, 4]), r"^kernel_size=\(3, 4\) must lie between 1 and the \(5, 3\) positions"),
        (lambda: select.window([5, 3], [3]), r"^kernel_size=\(3,\) must lie between 1 and the \(5, 3\) positions"),
        (lambda: select.window([5], [3, 1]), r"^kernel_size=\(3, 1\) must lie between 1 and the \(5,\) positions"),
        (lambda: select.window([5], [3], [2]), r"^kernel_size=\(3,\) must lie .* \(5,\) .* at dilation=\(2,\)$"),
        (lambda: select.window([5], [3], [0]), r"^dilation=0 must be an integer of at least 1$"),
        (lambda: select.within(5, -1), r"^reach=-1 must be an integer of at least 0$"),
        (lambda: select.within(5, 1.5), r"^reach=1\.5 must be an integer of at least 0$"),
        (lambda: select.strided(5, 0), r"^stride=0 must be an integer of at least 1$"),
        (lambda: select.strided(5, -2), r"^stride=-2 must be an integer of at least 1$"),
    ],
    ids=[
        "large",
        "none",
        "columns",
        "an-axis-less",
        "an-axis-more",
        "apart",
        "no-dilation",
        "reach",
        "reach-float",
        "stride",
        "backwards",
    ],
)
def test_errors(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("make", [lambda: select.window([7], [3]), lambda: select.within(7, 2)], ids=["all", "absent"])
def test_for_each_of_a_batch_is_the_same_list(make) -> None:
    one = make()
    one = one._replace(scores=_random(*one.indices.shape))
    several = one.for_each_of(3)
    for single, repeated in zip(one, several, strict=True):
        if single is None:
            assert repeated is None
        else:
            assert torch.equal(repeated, single.repeat(3, 1, 1))
            assert repeated.data_ptr() == single.data_ptr()  # a view
    assert make().for_each_of(3).scores is None
    assert one.for_each_of(0).indices.shape == (0, 7, one.K)


def test_raster_order_carries_scores_and_absence() -> None:
    indices = torch.tensor([[[4, 1, 3], [2, 0, 2]]])
    scores = torch.tensor([[[0.4, 0.1, 0.3], [0.5, 0.0, 0.6]]])
    absent = torch.tensor([[[True, False, False], [False, False, True]]])
    ordered = Neighbors(indices, scores, absent).in_raster_order()
    assert ordered.indices.tolist() == [[[1, 3, 4], [0, 2, 2]]]
    assert torch.equal(ordered.scores, torch.tensor([[[0.1, 0.3, 0.4], [0.0, 0.5, 0.6]]]))  # equal ones stay in order
    assert ordered.absent.tolist() == [[[False, False, True], [False, False, True]]]


def test_raster_order_without_scores() -> None:
    ordered = Neighbors(torch.tensor([[[4, 1, 3]]])).in_raster_order()
    assert ordered.indices.tolist() == [[[1, 3, 4]]]
    assert ordered.scores is None
    assert ordered.absent is None


def _some_absent(batch: int = 2, queries: int = 4, K: int = 3, length: int = 5) -> Neighbors:
    generator = torch.Generator().manual_seed(1)
    indices = torch.randint(length, (batch, queries, K), generator=generator)
    absent = torch.rand(batch, queries, K, generator=generator) < 0.4
    absent[..., 0] = False  # somebody is there
    assert absent.any()
    return Neighbors(indices, _random(batch, queries, K, seed=2), absent)


def test_absent_ones_get_no_share_of_a_softmax() -> None:
    neighbors = _some_absent()
    weights = weigh.softmax(neighbors).scores
    for at in itertools.product(range(2), range(4)):
        present = [j for j in range(3) if not neighbors.absent[at][j]]
        total = sum(math.exp(neighbors.scores[at][j]) for j in present)
        expected = [math.exp(neighbors.scores[at][j]) / total if j in present else 0 for j in range(3)]
        assert weights[at].tolist() == pytest.approx(expected, rel=1e-12)
    assert weights[neighbors.absent].eq(0).all()


@pytest.mark.parametrize("value", [1e30, float("nan"), float("inf")], ids=str)
def test_the_score_of_an_absent_one_does_not_matter(value: float) -> None:
    neighbors = _some_absent()
    poisoned = neighbors._replace(scores=neighbors.scores.masked_fill(neighbors.absent, value))
    assert torch.equal(weigh.softmax(poisoned).scores, weigh.softmax(neighbors).scores)
    values = _random(2, 5, 2)
    assert torch.equal(aggregate.weighted_sum(values, poisoned), aggregate.weighted_sum(values, neighbors))


def test_softmax_gradients_around_absent_ones() -> None:
    neighbors = _some_absent()

    def weights(scores: Tensor) -> Tensor:
        return weigh.softmax(neighbors._replace(scores=scores)).scores

    scores = neighbors.scores.clone().requires_grad_()
    assert gradcheck(weights, scores, fast_mode=True)
    weights(scores).square().sum().backward()
    assert scores.grad[neighbors.absent].eq(0).all()
    assert scores.grad.isfinite().all()


def _slow_sum(values: Tensor, neighbors: Neighbors, weight: Tensor, groups: int) -> Tensor:
    """Compute every term separately, without those of absent neighbours."""
    indices, scores, absent = neighbors
    outputs, width, K = weight.shape
    out = values.new_zeros(*indices.shape[:2], outputs)
    for b, i, o in itertools.product(*map(range, out.shape)):
        first_channel = o // (outputs // groups) * width
        for c, k in itertools.product(range(width), range(K)):
            if absent is None or not absent[b, i, k]:
                score = 1.0 if scores is None else scores[b, i, k].item()
                out[b, i, o] += weight[o, c, k] * score * values[b, indices[b, i, k], first_channel + c]
    return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize(("outputs", "groups"), [(3, 1), (4, 2), (4, 4)])
def test_absent_ones_do_not_count_in_a_convolution(outputs: int, groups: int, scored: bool, backend: str) -> None:
    values, weight = _random(2, 5, 4), _random(outputs, 4 // groups, 3, seed=3)
    neighbors = _some_absent() if scored else _some_absent()._replace(scores=None)
    out = aggregate.convolve(values, neighbors, weight, groups=groups, backend=backend)
    torch.testing.assert_close(out, _slow_sum(values, neighbors, weight, groups), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
def test_what_absent_ones_hold_does_not_count(scored: bool, bad: float, backend: str) -> None:
    """Check that absent neighbours contribute nothing: their index repeats another position."""
    neighbors = select.within(6, 1)
    neighbors = neighbors._replace(scores=_random(1, 6, 3)) if scored else neighbors
    values = _random(1, 6, 2)
    values[0, 2] = bad  # whom 0 does not see, but has on its list
    out = aggregate.convolve(values, neighbors, _random(2, 1, 3, seed=3), groups=2, backend=backend)
    assert (~out.isfinite()).any(-1)[0].tolist() == [False, True, True, True, False, False]


@sweep(scored=[False, True], groups=[1, 2], backend=BACKENDS)
def test_convolution_gradients_around_absent_ones(scored: bool, groups: int, backend: str) -> None:
    neighbors = _some_absent()
    inputs = [_random(2, 5, 2).requires_grad_(), _random(4, 2 // groups, 3, seed=3).requires_grad_()]
    inputs += [neighbors.scores.clone().requires_grad_()] if scored else []

    def convolve(values: Tensor, weight: Tensor, scores: Tensor | None = None) -> Tensor:
        given = neighbors._replace(scores=scores)
        return aggregate.convolve(values, given, weight, groups=groups, backend=backend)

    assert gradcheck(convolve, inputs, fast_mode=True)
    assert gradgradcheck(convolve, inputs, fast_mode=True)
    if scored:
        (gradient,) = torch.autograd.grad(convolve(*inputs).sum(), inputs[2])
        assert gradient[neighbors.absent].eq(0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize("missing", [False, True], ids=["everybody", "absent"])
@pytest.mark.parametrize("channels", [1, 4])
def test_weighted_sum(channels: int, missing: bool, scored: bool, backend: str) -> None:
    neighbors, values = _some_absent(), _random(2, 5, channels)
    neighbors = Neighbors(
        neighbors.indices, neighbors.scores if scored else None, neighbors.absent if missing else None
    )
    out = aggregate.weighted_sum(values, neighbors, backend=backend)
    ones = torch.ones(channels, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(out, _slow_sum(values, neighbors, ones, channels), rtol=0, atol=1e-12)


def test_weighted_sum_gradients() -> None:
    neighbors = _some_absent()

    def function(values: Tensor, scores: Tensor) -> Tensor:
        return aggregate.weighted_sum(values, neighbors._replace(scores=scores))

    inputs = _random(2, 5, 2).requires_grad_(), neighbors.scores.clone().requires_grad_()
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


def test_the_whole_way_over_a_fixed_list_has_gradients() -> None:
    neighbors = select.strided(7, 3).for_each_of(2)

    def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        weighed = weigh.softmax(weigh.similarity(neighbors, queries, keys, metric="matmul"))
        return aggregate.weighted_sum(values, weighed)

    assert gradcheck(attention, [_random(2, 7, 2, seed=seed).requires_grad_() for seed in range(3)], fast_mode=True)


def _scored(scores: Tensor) -> Neighbors:
    return Neighbors(torch.zeros(scores.shape, dtype=torch.long), scores)


STEPS = {
    "root": weigh.root,
    "inverse": weigh.inverse,
    "inverse-root": lambda neighbors: weigh.inverse(weigh.root(neighbors)),
    "softmax": weigh.softmax,
}


@pytest.mark.parametrize("name", STEPS)
def test_gradients_of_single_steps(name: str) -> None:
    scores = -(_random(2, 3, 4).square() + 0.1)

    def step(scores: Tensor) -> Tensor:
        return STEPS[name](_scored(scores)).scores

    assert gradcheck(step, scores.requires_grad_(), fast_mode=True)
    assert gradgradcheck(step, scores, fast_mode=True)


def test_behind_a_softmax_a_weight_of_zero_says_who_is_absent() -> None:
    neighbors = _some_absent()
    weighed = weigh.softmax(neighbors)
    assert weighed.absent is None
    assert torch.equal(weighed.scores == 0, neighbors.absent)


@pytest.mark.parametrize("name", [name for name in STEPS if name != "softmax"])
def test_steps_keep_who_is_absent(name: str) -> None:
    neighbors = _some_absent()
    neighbors = neighbors._replace(scores=-neighbors.scores.square())
    weighed = STEPS[name](neighbors)
    assert weighed.absent is neighbors.absent
    assert weighed.indices is neighbors.indices


@pytest.mark.parametrize("name", [name for name in STEPS if name != "softmax"])
def test_steps_act_on_every_score_alone(name: str) -> None:
    scores = -_random(2, 3, 4).square()
    together = STEPS[name](_scored(scores)).scores
    alone = [STEPS[name](_scored(one.view(1, 1, 1))).scores.item() for one in scores.flatten()]
    assert together.flatten().tolist() == alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_steps_keep_the_type_of_the_scores(dtype: torch.dtype) -> None:
    for step in STEPS.values():
        assert step(_scored(torch.full((1, 2, 3), -0.5, dtype=dtype))).scores.dtype == dtype


@pytest.mark.parametrize("name", STEPS)
def test_steps_need_scores(name: str) -> None:
    with pytest.raises(
        InputError, match=r"^neighbors\.scores=None must be set first, for example by weigh\.similarity$"
    ):
        STEPS[name](Neighbors(torch.zeros(1, 1, 1, dtype=torch.long)))


@pytest.mark.parametrize("name", ["scores", "absent"])
def test_what_goes_with_the_indices_has_their_shape(name: str) -> None:
    neighbors = select.window([5], [3])
    other = {"scores": torch.zeros(1, 5, 2), "absent": torch.zeros(1, 5, 2, dtype=torch.bool)}[name]
    message = rf"^neighbors\.{name} of shape \(1, 5, 2\) must have the shape \(1, 5, 3\) of the indices$"
    with pytest.raises(InputError, match=message):
        aggregate.weighted_sum(torch.zeros(1, 5, 2), neighbors._replace(**{name: other}))


def test_a_list_for_one_does_not_fit_a_batch() -> None:
    with pytest.raises(
        InputError, match=r"^neighbors\.indices of shape \(1, 5, 3\) and torch\.int64 must be \(2, N, K\)"
    ):
        aggregate.weighted_sum(torch.zeros(2, 5, 2), select.window([5], [3]))


@pytest.mark.slow
def test_lists_trace_with_a_length_that_varies() -> None:
    def lists(x: Tensor) -> list[Tensor]:
        n = x.shape[0]
        near, far = select.within(n, 2), select.strided(n, 3)
        return [select.window([n], [3]).indices, near.indices, near.absent, far.indices, far.absent]

    compiled = torch.compile(lists, fullgraph=True, backend="eager", dynamic=True)
    for x in (torch.zeros(7), torch.zeros(9)):
        for ours, theirs in zip(compiled(x), lists(x), strict=True):
            assert torch.equal(ours, theirs)
