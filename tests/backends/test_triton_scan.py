"""The scans as Triton kernels: on a GPU if there is one, else in Triton's interpreter."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import reference, triton

RUNS = not triton.unavailable_reasons()
DEVICE = "cpu" if triton.INTERPRETS or not torch.cuda.is_available() else "cuda"
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.skipif(not RUNS, reason="; ".join(triton.unavailable_reasons())),
]


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def assert_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-4) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 13, 5), (1, 9, 70)])
def test_wkv(shape: tuple[int, int, int]) -> None:
    decay = torch.linspace(-0.1, 8.0, shape[2], device=DEVICE)
    inputs = [rows(*shape), rows(*shape, seed=1), decay, rows(shape[2])]
    out, logs = expected = reference.bi_wkv(*inputs)
    assert_close(triton.bi_wkv(*inputs), expected)
    grad = rows(*shape, seed=5)
    backward = (grad, grad * out, logs, *inputs)
    assert_close(triton.bi_wkv_backward(*backward), reference.bi_wkv_backward(*backward))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 10, 3, 6)])
def test_delta_rule(shape: tuple[int, int, int, int]) -> None:
    heads, length, keys, values = shape
    direction = F.normalize(rows(heads, length, keys, seed=3), dim=-1)
    inputs = [rows(heads, length, keys, seed=1), rows(heads, length, keys), rows(heads, length, values)]
    inputs += [-rows(heads, length, keys, seed=2).abs(), -direction, direction * rows(heads, length, keys).sigmoid()]
    inputs.append(rows(heads, values, keys))
    expected = reference.delta_rule(*inputs)
    assert_close(triton.delta_rule(*inputs), expected)
    backward = (*(rows(*one.shape, seed=6) for one in expected), *inputs)
    assert_close(triton.delta_rule_backward(*backward), reference.delta_rule_backward(*backward))


def test_half_types() -> None:
    inputs = [rows(1, 6, 4).half(), rows(1, 6, 4, seed=1).half(), rows(4).abs().half(), rows(4).half()]
    assert_close(triton.bi_wkv(*inputs), reference.bi_wkv(*inputs), 2e-3)
