"""The operators as custom ops: schemas, shapes, gradients, cost, tracing."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import CustomOpDef
from torch.utils.flop_counter import FlopCounterMode

from convnn.backends import cpu
from convnn.nn import ConvNN2d, ConvNNAttn2d
from convnn.ops import METRICS, Neighbors, _attend, _library, aggregate, select, weigh
from pairwise import each, one_in

BACKENDS = ["reference", pytest.param("cpu", marks=pytest.mark.skipif(cpu.core is None, reason="not compiled"))]
COMPUTING = ["reference", "cpu"] if cpu.core else ["reference"]
DTYPES = [torch.float32, torch.float64]
TRACED = "test_aot_dispatch_dynamic"
LOOKED_AT = ("test_schema", "test_autograd_registration", "test_faketensor")

# opcheck looks at the gradients of its own copies of the inputs
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def _random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype, requires_grad=True)


def _indices() -> Tensor:
    return torch.randint(6, (2, 4, 3), generator=torch.Generator().manual_seed(5))


def _check(operator: CustomOpDef, arguments: tuple[Any, ...], traced: bool) -> None:
    """Check schema, registration and shapes of an operator, or also its tracing: 0.01 s or 1 s."""
    torch.library.opcheck(operator, arguments, test_utils=TRACED if traced else LOOKED_AT)


def _check_nearest(metric: str, backend: str, restricted: tuple[bool, bool], traced: bool = False) -> None:
    keys = _random(2, 6, 3)
    positions, candidates = torch.tensor([0, 2, 3, 5]), torch.tensor([1, 2, 4])
    where, who = (one if given else None for one, given in zip((positions, candidates), restricted, strict=True))
    _check(_library.nearest, (keys[:, :4].detach(), keys.detach(), 2, metric, where, who, backend), traced)


def _check_similarity(metric: str, backend: str, dtype: torch.dtype, traced: bool = False) -> None:
    queries, keys, indices = _random(2, 4, 3, dtype=dtype), _random(2, 6, 3, dtype=dtype), _indices()
    _check(_library.similarity, (queries, keys, indices, metric, backend), traced)
    grad = _random(2, 4, 3, dtype=dtype)
    _check(_library.similarity_backward, (grad, queries, keys, indices, metric, backend), traced)


def _check_convolve(
    groups: int, backend: str, dtype: torch.dtype, scored: bool, with_bias: bool, traced: bool = False
) -> None:
    values, weight = _random(2, 6, 4, dtype=dtype), _random(4, 4 // groups, 3, dtype=dtype)
    grad, bias, indices = _random(2, 4, 4, dtype=dtype), _random(4, dtype=dtype), _indices()
    scores = _random(2, 4, 3, dtype=dtype) if scored else None
    forward = (values, indices, scores, weight, bias if with_bias else None, groups, backend)
    _check(_library.convolve, forward, traced)
    backward = (grad, values, indices, scores, weight, groups, [True, scored, True], backend)
    _check(_library.convolve_backward, backward, traced)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", METRICS)
def test_opcheck_of_nearest(metric: str, backend: str) -> None:
    for restricted in product((False, True), repeat=2):
        _check_nearest(metric, backend, restricted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("settings", [(0.5, None, None), (None, 2, 3)], ids=str)
def test_opcheck_of_nearest_in_clusters(settings: tuple[Any, ...], backend: str) -> None:
    keys = torch.randn(2, 300, 3)
    arguments = (keys[:, :270], keys, 3, "cosine", torch.arange(270), None, *settings, 0, backend)
    _check(_library.nearest_in_clusters, arguments, traced=False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", METRICS)
def test_opcheck_of_similarity(metric: str, backend: str, dtype: torch.dtype) -> None:
    _check_similarity(metric, backend, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_opcheck_of_convolve(groups: int, backend: str, dtype: torch.dtype) -> None:
    for scored, with_bias in product((False, True), repeat=2):
        _check_convolve(groups, backend, dtype, scored, with_bias)


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck_of_attend_to_blocks(backend: str) -> None:
    rows = _random(2, 7, 3), _random(2, 6, 3), _random(2, 6, 4)
    is_open = torch.tensor([[[True, False], [True, True]]]).expand(2, 2, 2)
    _check(_attend.attend_to_blocks, (*rows, is_open, 4, 3, backend), traced=False)


@each(metric=METRICS, backend=COMPUTING, where=[False, True], who=[False, True])
def test_nearest_traces(metric: str, backend: str, where: bool, who: bool) -> None:
    _check_nearest(metric, backend, (where, who), traced=True)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "backend", "dtype"), one_in(18, product(METRICS, COMPUTING, DTYPES)), ids=str)
def test_similarity_traces(metric: str, backend: str, dtype: torch.dtype) -> None:
    _check_similarity(metric, backend, dtype, traced=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "backend", "dtype", "scored", "with_bias"),
    one_in(54, product([1, 2, 4], COMPUTING, DTYPES, [False, True], [False, True])),
    ids=str,
)
def test_convolve_traces(groups: int, backend: str, dtype: torch.dtype, scored: bool, with_bias: bool) -> None:
    _check_convolve(groups, backend, dtype, scored, with_bias, traced=True)


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "backend"), one_in(3, product([1, 2, 4], COMPUTING)))
def test_gradients_of_convolve(groups: int, backend: str) -> None:
    values, weight, bias = _random(2, 6, 4), _random(4, 4 // groups, 3), _random(4)
    scores, indices = _random(2, 4, 3), _indices()

    def convolve(values: Tensor, scores: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return aggregate.convolve(values, Neighbors(indices, scores), weight, bias, groups=groups, backend=backend)

    assert torch.autograd.gradcheck(convolve, (values, scores, weight, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(convolve, (values, scores, weight, bias), fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", METRICS)
def test_gradients_of_similarity(metric: str, backend: str) -> None:
    indices = _indices()

    def similarity(queries: Tensor, keys: Tensor) -> Tensor:
        return weigh.similarity(Neighbors(indices), queries, keys, metric=metric, backend=backend).scores

    assert torch.autograd.gradcheck(similarity, (_random(2, 4, 3), _random(2, 6, 3)), fast_mode=True)
    assert torch.autograd.gradgradcheck(similarity, (_random(2, 4, 3), _random(2, 6, 3)), fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_operations_are_counted(backend: str) -> None:
    keys = _random(2, 6, 5, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        neighbors = select.nearest(keys[:, :4], keys, 3, backend=backend)
    assert counter.get_total_flops() == 2 * 2 * 4 * 6 * 5
    with FlopCounterMode(display=False) as counter:
        select.nearest(keys[:, :4], keys, 3, method="clustered", probes=1, lists=2, backend=backend)
    pairs = 2 * 6 * 2 + (4 + 6) * 2 + 4 * 6 // 2  # rounds of k-means, both assignments, one list of two
    assert counter.get_total_flops() == 2 * 2 * 5 * pairs
    with FlopCounterMode(display=False) as counter:
        neighbors = weigh.similarity(neighbors, keys[:, :4], keys, backend=backend)
    assert counter.get_total_flops() == 2 * 2 * 4 * 3 * 5
    with FlopCounterMode(display=False) as counter:
        out = aggregate.convolve(keys, neighbors, _random(7, 5, 3, dtype=torch.float32), backend=backend)
    forward = 2 * 2 * 4 * 3 * 5 * 7
    assert counter.get_total_flops() == forward
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * forward + 2 * 2 * 2 * 4 * 3 * 5  # and the gradient of the scores


@pytest.mark.parametrize("layer_type", [ConvNN2d, ConvNNAttn2d])
def test_exported_layer_gives_the_same(layer_type: type[torch.nn.Module]) -> None:
    layer, x = layer_type(3, 4, K=5).eval(), torch.randn(2, 3, 6, 5)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))


@pytest.mark.slow
def test_another_batch_size_compiles_nothing_anew() -> None:
    layer = torch.compile(ConvNN2d(3, 4, K=5), fullgraph=True, dynamic=True, backend="eager")
    layer(torch.randn(4, 3, 6, 5))
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in (2, 7, 12):
            assert layer(torch.randn(batch, 3, 6, 5)).shape == (batch, 4, 6, 5)
