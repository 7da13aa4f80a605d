"""Blocks of queries that choose blocks of keys, and attention to them."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.ops import blocks

BLOCK = (4, 3)


def _rows(batch: int, length: int, channels: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, length, channels, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _opened(queries: Tensor, keys: Tensor, keep: float, mass: float | None, pool: str) -> list[list[bool]]:
    """Return which blocks of one image's keys each block of its queries opens, number by number."""

    def pooled(rows: list[list[float]], size: int) -> list[list[float]]:
        of = {"mean": lambda numbers: sum(numbers) / len(numbers), "max": max}[pool]
        return [[of(c) for c in zip(*rows[i : i + size], strict=True)] for i in range(0, len(rows), size)]

    found = []
    for q in pooled(queries.tolist(), BLOCK[0]):
        scores = [math.exp(sum(map(math.prod, zip(q, k, strict=True))) / math.sqrt(len(q)))
                  for k in pooled(keys.tolist(), BLOCK[1])]  # fmt: skip
        order = sorted(range(len(scores)), key=lambda j: -scores[j])
        count, total = 0, 0.0
        while mass is not None and count < len(order) and total + scores[order[count]] <= (mass + 1e-5) * sum(scores):
            total += scores[order[count]]
            count += 1
        count = max(1, int(len(scores) * keep), count)
        found.append([j in order[:count] for j in range(len(scores))])
    return found


@pytest.mark.parametrize("pool", blocks.POOLS)
@pytest.mark.parametrize(("keep", "mass"), [(0.5, None), (0.0, None), (0.0, 0.6), (0.4, 0.2), (1.0, None), (0.0, 1.0)])
def test_the_best_blocks_are_opened(keep: float, mass: float | None, pool: str) -> None:
    queries, keys = _rows(2, 11), _rows(2, 17, seed=1)
    is_open = blocks.choose(queries, keys, BLOCK, keep=keep, mass=mass, pool=pool)
    assert is_open.shape == (2, 3, 6)
    assert is_open.tolist() == [_opened(q, k, keep, mass, pool) for q, k in zip(queries, keys, strict=True)]


def test_of_equal_blocks_the_first_is_opened() -> None:
    is_open = blocks.choose(_rows(1, 4), torch.ones(1, 12, 5, dtype=torch.float64), BLOCK, keep=0.5)
    assert is_open.tolist() == [[[True, True, False, False]]]


def test_half_types_choose_as_their_numbers_do() -> None:
    queries, keys = _rows(1, 40, dtype=torch.bfloat16), _rows(1, 40, seed=1, dtype=torch.bfloat16)
    chosen = blocks.choose(queries, keys, BLOCK)
    assert torch.equal(chosen, blocks.choose(queries.float(), keys.float(), BLOCK))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(chosen, blocks.choose(queries.float(), keys.float(), BLOCK))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(("count", "length"), [(1, 1), (8, 6), (11, 17), (0, 3)])
def test_queries_attend_to_the_keys_of_open_blocks(count: int, length: int, backend: str) -> None:
    inputs = [_rows(2, count), _rows(2, length, seed=1), _rows(2, length, 7, seed=2)]
    queries, keys, values = (one.requires_grad_() for one in inputs)
    is_open = blocks.choose(queries, keys, BLOCK, keep=0.3)
    is_open[:, :1, -1] = True  # some open more than others, and the last block is short
    pairs = torch.tensor(
        [
            [[bool(opened[i // BLOCK[0]][j // BLOCK[1]]) for j in range(length)] for i in range(count)]
            for opened in is_open
        ],
    ).view(2, count, length)
    expected = F.scaled_dot_product_attention(queries, keys, values, attn_mask=pairs)
    found = blocks.attend(queries, keys, values, is_open, BLOCK, backend=backend)
    torch.testing.assert_close(found, expected)
    grad = _rows(2, count, 7, seed=3)
    gradients = (torch.autograd.grad(out, inputs, grad) for out in (found, expected))
    torch.testing.assert_close(*gradients)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch itself uses here
def test_gradients_of_gradients() -> None:
    queries, keys, values = (_rows(1, 5, 2, seed=seed).requires_grad_() for seed in range(3))
    is_open = torch.tensor([[[True, False], [True, True]]])
    assert torch.autograd.gradgradcheck(
        lambda *rows: blocks.attend(*rows, is_open, BLOCK), (queries, keys, values), fast_mode=True
    )
    _, forward = torch.func.jvp(lambda v: blocks.attend(queries, keys, v, is_open, BLOCK), (values,), (values,))
    torch.testing.assert_close(forward, blocks.attend(queries, keys, values, is_open, BLOCK))


def test_the_values_decide_the_type() -> None:
    queries, keys = _rows(1, 8), _rows(1, 8)
    out = blocks.attend(queries, keys, keys.bfloat16(), torch.ones(1, 2, 3, dtype=torch.bool), BLOCK)
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": (4, 0)}, r"^block=0 must be an integer of at least 1$"),
        ({"keys": _rows(1, 8)}, r"^queries \(2, 8, 5\) and keys \(1, 8, 5\) must agree in batch and channels$"),
        ({"values": _rows(2, 7)}, r"^values \(2, 7, 5\) and keys \(2, 8, 5\) must agree in batch and length$"),
        (
            {"is_open": torch.ones(2, 2, 2)},
            r"^is_open of shape \(2, 2, 2\) and torch.float32 must be \(2, 2, 3\) bool for block=\(4, 3\)$",
        ),
        ({"backend": "cuda"}, "^backend='cuda' is not one of auto, cpu, triton, reference"),
    ],
    ids=["block", "keys", "values", "is_open", "backend"],
)
def test_what_is_refused(change: dict, message: str) -> None:
    rows = {name: _rows(2, 8) for name in ("queries", "keys", "values")}
    with pytest.raises(InputError, match=message):
        blocks.attend(**rows | {"is_open": torch.ones(2, 2, 3, dtype=torch.bool), "block": BLOCK} | change)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_it_is_flex_attention_under_the_mask_of_the_blocks() -> None:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    queries, keys, values = _rows(3, 50, 8), _rows(3, 40, 8, seed=1), _rows(3, 40, 8, seed=2)
    is_open = blocks.choose(queries, keys, (8, 4), keep=0.3)

    def opens(_: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return is_open[head, query // 8, key // 4]

    mask = create_block_mask(opens, 1, 3, 50, 40, device="cpu", BLOCK_SIZE=(8, 4))
    assert torch.equal(mask.to_dense()[0].bool(), is_open)
    expected = flex_attention(*(one.unsqueeze(0) for one in (queries, keys, values)), block_mask=mask).squeeze(0)
    torch.testing.assert_close(blocks.attend(queries, keys, values, is_open, (8, 4)), expected)
