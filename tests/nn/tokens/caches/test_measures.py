"""What a cache is worth, of traces whose answer is known."""

from functools import partial

import pytest
import torch

from convnn.errors import InputError
from convnn.nn.tokens.caches import (
    KeyValueCache,
    RecordingCache,
    SinkCache,
    SnapKVCache,
    Trace,
    attention_mass,
    measure,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def trace(**more) -> Trace:
    return Trace(draw(2, 4, 30, 6), draw(2, 2, 30, 6, seed=1), draw(2, 2, 30, 5, seed=2), 24, **more)


def test_mass_is_the_sum_of_the_weights_that_are_read() -> None:
    queries, keys, read = draw(2, 4, 6), draw(2, 2, 9, 6, seed=1), draw(2, 2, 9, seed=2) > 0
    found = attention_mass(queries, keys, read, scale=0.5)
    for b in range(2):
        for h in range(4):
            weights = (keys[b, h // 2] @ queries[b, h] / 2).softmax(0)
            torch.testing.assert_close(found[b, h], weights[read[b, h // 2]].sum(), rtol=0, atol=1e-15)
    assert torch.equal(attention_mass(queries, keys, read & ~read), torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(InputError, match=r"read of shape \(2, 2, 8\) and torch.bool must be \(2, 2, 9\) bool"):
        attention_mass(queries, keys, read[..., :8])


def test_everything_is_without_error() -> None:
    found = measure(KeyValueCache(), trace(scale=0.3))
    assert found[:3] == (None, 24, 27.5)  # 25 to 30 tokens
    assert found.mass == pytest.approx(1, abs=1e-14)
    assert found.error == 0
    assert found.milliseconds > 0


def test_figures_are_those_of_the_definition() -> None:
    one = trace()
    found = measure(SinkCache(6, sinks=2), one)
    mass, squares, norms = [], 0.0, 0.0
    for t in range(24, 30):
        rows = [0, 1, 20, 21, 22, 23, *range(24, t + 1)]
        keys, values = (part.repeat_interleave(2, 1)[:, :, : t + 1] for part in (one.keys, one.values))
        logits = (keys @ one.queries[:, :, t, :, None])[..., 0] / 6**0.5
        mass.append(logits.softmax(-1)[..., rows].sum(-1).mean())
        dense = (logits.softmax(-1)[..., None] * values).sum(2)
        ours = (logits[..., rows].softmax(-1)[..., None] * values[:, :, rows]).sum(2)
        squares, norms = squares + (ours - dense).square().sum(), norms + dense.square().sum()
    assert found[:3] == (6, 6, 9.5)
    assert found.mass == pytest.approx(torch.stack(mass).mean().item(), abs=1e-14)
    assert found.error == pytest.approx((squares / norms).sqrt().item(), abs=1e-14)


def test_a_recorded_trace_is_what_was_computed() -> None:
    one = trace()
    cache = RecordingCache()
    cache.prefill(*(part[:, :, :24] for part in (one.keys, one.values, one.queries)), scale=0.3)
    for step in one.steps():
        cache.step(*step)
    assert cache.trace.prompt == 24
    assert cache.trace.scale == 0.3
    assert all(torch.equal(ours, given) for ours, given in zip(cache.trace[:3], one[:3], strict=True))
    with pytest.raises(InputError, match="queries=None must be those of the prompt, which RecordingCache records"):
        RecordingCache().prefill(one.keys, one.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": 30}, "prompt=30 must leave some of the 30 tokens"),
        ({"prompt": 0}, "prompt=0 must leave some of the 30 tokens"),
        ({"present": torch.arange(24).expand(2, 24) > 0}, "the trace has padding; measure one text at a time"),
        ({"prompt": 3}, "budget=8 must be at most, and window=4 below, the 3 tokens"),
    ],
)
def test_traces_are_checked(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(partial(SnapKVCache, 8, window=4)(), trace()._replace(**change))
