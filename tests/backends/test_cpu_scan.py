"""The scans of the compiled core, for every instruction set of this machine."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import cpu, reference

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled"),
    pytest.mark.usefixtures("core"),
]
TYPES = [(torch.float64, 1e-11), (torch.float32, 2e-4)]


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def wkv_inputs(batch: int, length: int, channels: int, dtype: torch.dtype) -> list[Tensor]:
    decay = torch.linspace(-0.1, 8.0, channels, dtype=dtype)
    return [*(rows(batch, length, channels, seed=i, dtype=dtype) for i in range(2)), decay, rows(channels, dtype=dtype)]


def rule_inputs(heads: int, length: int, keys: int, values: int, dtype: torch.dtype) -> list[Tensor]:
    direction = F.normalize(rows(heads, length, keys, seed=3), dim=-1)
    inputs = [rows(heads, length, keys, seed=1), rows(heads, length, keys), rows(heads, length, values)]
    inputs += [-rows(heads, length, keys, seed=2).abs(), -direction, direction * rows(heads, length, keys).sigmoid()]
    return [one.to(dtype) for one in (*inputs, rows(heads, values, keys))]


def assert_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 31, 5), (1, 32, 16), (2, 33, 70), (1, 100, 129)])
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES, ids=str)
def test_wkv(shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    inputs = wkv_inputs(*shape, dtype)
    out, logs = expected = reference.bi_wkv(*inputs)
    assert_close(cpu.bi_wkv(*inputs), expected, tolerance)
    grad = rows(*shape, seed=5, dtype=dtype)
    backward = (grad, grad * out, logs, *inputs)
    assert_close(cpu.bi_wkv_backward(*backward), reference.bi_wkv_backward(*backward), 4 * tolerance)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 3, 6), (1, 17, 16, 16), (3, 40, 33, 9)])
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES, ids=str)
def test_delta_rule(shape: tuple[int, int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    inputs = rule_inputs(*shape, dtype)
    expected = reference.delta_rule(*inputs)
    assert_close(cpu.delta_rule(*inputs), expected, tolerance)
    backward = (*(rows(*one.shape, seed=6, dtype=dtype) for one in expected), *inputs)
    assert_close(cpu.delta_rule_backward(*backward), reference.delta_rule_backward(*backward), 10 * tolerance)


def test_half_types_are_computed_in_float32() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        inputs = wkv_inputs(1, 20, 4, dtype)
        out, logs = cpu.bi_wkv(*inputs)
        assert (out.dtype, logs.dtype) == (dtype, torch.float32)
        assert torch.equal(out, cpu.bi_wkv(*(one.float() for one in inputs))[0].to(dtype))


def test_odd_keys_stay_in_their_channel() -> None:
    key, value, decay, first = wkv_inputs(1, 40, 20, torch.float32)
    expected = cpu.bi_wkv(key, value, decay, first)[0]
    key[:, 7, 3] = torch.nan
    key[:, 9, 5] = torch.inf
    found = cpu.bi_wkv(key, value, decay, first)[0]
    assert found[:, :, 3].isnan().all()
    assert not found[:, 9, 5].isfinite().any()
    others = [channel for channel in range(20) if channel not in (3, 5)]
    assert torch.equal(found[..., others], expected[..., others])


def test_bits_do_not_depend_on_threads_or_on_the_rest_of_the_batch() -> None:
    wkv, rule = wkv_inputs(3, 70, 40, torch.float32), rule_inputs(3, 30, 8, 8, torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [*cpu.bi_wkv(*wkv), *cpu.delta_rule(*rule), *cpu.delta_rule_backward(rule[2], rule[6], *rule)]
        torch.set_num_threads(3)
        again = [*cpu.bi_wkv(*wkv), *cpu.delta_rule(*rule), *cpu.delta_rule_backward(rule[2], rule[6], *rule)]
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, alone, again))
    assert torch.equal(cpu.bi_wkv(wkv[0][1:2], wkv[1][1:2], *wkv[2:])[0], alone[0][1:2])
