"""Every kernel compiles for GPUs that are not here, for tensor cores and with copies that do not wait; not run.

What this cannot see: races, time, conflicts of banks.
"""

import re
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from convnn.backends import triton
from pairwise import only

pytestmark = pytest.mark.skipif(
    triton.INTERPRETS or find_spec("triton") is None, reason="a compiler of Triton, not its interpreter, is needed"
)
if not triton.INTERPRETS and find_spec("triton") is not None:
    from compiled_kernels import Compiled, Launch, compiled, recorded

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
SHARED = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes of shared memory of a program on an A100 and an H100."""
CONSUMER = 99 * 1024
METRICS = ("cosine", "euclidean", "matmul")

SPILLED = {"blocks._gradient_of_keys_kernel": 128}
"""Bytes of registers that a thread of some kernels keeps in local memory: known, and to grow no further."""

Call = Callable[[torch.dtype], object]


def rows(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype)


def choice(count: int, length: int, K: int) -> Tensor:
    return torch.randint(length, (2, count, K))


def search(metric: str, channels: int, K: int, known: bool) -> Call:
    positions, candidates = (torch.arange(64), torch.arange(0, 96)) if known else (None, None)
    return lambda dtype: triton.nearest(
        rows(2, 64, channels, dtype=dtype), rows(2, 96, channels, dtype=dtype), K, metric, positions, candidates
    )


def search_in_lists(metric: str, known: bool) -> Call:
    lists, opened = torch.randint(5, (2, 96)), torch.randint(5, (2, 64, 2))
    positions = torch.arange(64) if known else None
    return lambda dtype: triton.nearest_in_lists(
        rows(2, 64, 32, dtype=dtype), rows(2, 96, 32, dtype=dtype), 9, metric, positions, lists, opened, 5
    )


def pick(metric: str, unlike: bool) -> Call:
    choices = torch.randint(96, (64, 4, 3))
    return lambda dtype: triton.one_of_each(
        rows(2, 64, 32, dtype=dtype), rows(2, 96, 32, dtype=dtype), choices, metric, unlike
    )


def largest(scored: bool, centered: bool) -> Call:
    scores = rows(2, 64, 9) if scored else None
    absent = torch.zeros(2, 64, 9, dtype=torch.bool) if scored else None

    def call(dtype: torch.dtype) -> None:
        centers = rows(2, 64, 32, dtype=dtype) if centered else None
        triton.largest(rows(2, 96, 32, dtype=dtype), choice(64, 96, 9), scores, absent, centers)

    return call


def score_pairs(metric: str) -> Call:
    def call(dtype: torch.dtype) -> None:
        pairs = (rows(2, 64, 64, dtype=dtype), rows(2, 96, 64, dtype=dtype), choice(64, 96, 9), metric)
        triton.similarity(*pairs)
        triton.similarity_backward(rows(2, 64, 9), *pairs)

    return call


def convolve(width: int, groups: int, scored: bool, count: int = 64) -> Call:
    def call(dtype: torch.dtype) -> None:
        values, weight = rows(2, 96, width, dtype=dtype), rows(width, width // groups, 9, dtype=dtype)
        indices, scores = choice(count, 96, 9), rows(2, count, 9, dtype=dtype) if scored else None
        out = triton.convolve(values, indices, scores, weight, weight[:, 0, 0].contiguous(), groups)
        triton.convolve_backward(out, values, indices, scores, weight, groups, [True, scored, True])

    return call


def convolve_forward(width: int) -> Call:
    weight = rows(width, width, 9)
    return lambda dtype: triton.convolve(rows(2, 96, width, dtype=dtype), choice(64, 96, 9), None, weight, None, 1)


def attend_to_blocks(width: int) -> Call:
    def call(dtype: torch.dtype) -> None:
        x = rows(2, 128, width, dtype=dtype)
        opened = (x, x, x, torch.ones(2, 1, 2, dtype=torch.bool), 128, 64)
        of_queries = torch.zeros(2, 128)
        triton.attend_to_blocks(*opened)
        triton.attend_to_blocks_backward(x, of_queries, of_queries, *opened)

    return call


def attend(width: int, masked: bool, causal: bool) -> Call:
    # As on a GPU: the check of the device is not asked here.
    from convnn.backends.triton.blocks import Pairs, attend_to_pairs, gradients_of_pairs

    def call(dtype: torch.dtype) -> None:
        x = rows(2, 128, width, dtype=dtype)
        mask = torch.ones(2, 128, 128, dtype=torch.bool) if masked else None
        pairs = Pairs(torch.ones(2, 2, 2, dtype=torch.bool), 64, 64, mask, 0 if causal else None)
        out, logarithms = attend_to_pairs(x, x, x, pairs, width**-0.5, torch.float32)
        gradients_of_pairs(x, x, x, x, out, logarithms, pairs, width**-0.5)

    return call


def attend_linearly(width: int, backwards: bool) -> Call:
    from convnn.backends.triton.linear import _walk

    return lambda dtype: _walk(*[rows(2, 128, width, dtype=dtype)] * 3, torch.ones(2), 64, backwards=backwards)


def gather_rows(dtype: torch.dtype) -> None:
    triton.gather_rows(rows(9, 64, dtype=dtype), torch.arange(4), rows(4, 64, dtype=dtype))


CALLS: dict[str, Call] = {"gather rows": gather_rows, "dense 16, forward": convolve_forward(16)}
for metric in METRICS:
    CALLS |= {f"search {metric}, {c} channels, K={K}, {'known' if known else 'any'}": search(metric, c, K, known)
              for c in (3, 64) for K in (9, 80) for known in (False, True)}  # fmt: skip
    CALLS |= {f"search in lists {metric}, {known}": search_in_lists(metric, known) for known in (False, True)}
    CALLS |= {f"pick {metric}, unlike={unlike}": pick(metric, unlike) for unlike in (False, True)}
    CALLS |= {f"score pairs {metric}": score_pairs(metric)}
for scored in (False, True):
    CALLS |= {f"largest, scored={scored}, centered={one}": largest(scored, one) for one in (False, True)}
    CALLS |= {f"depthwise {width}, scored={scored}": convolve(width, width, scored) for width in (16, 96)}
    CALLS |= {f"dense {width}, scored={scored}": convolve(width, 1, scored) for width in (3, 16, 64, 128)}
    CALLS |= {f"dense 128 of many, scored={scored}": convolve(128, 1, scored, count=2**14)}
for width in (16, 64, 128, 256):
    CALLS |= {f"attention to blocks {width}": attend_to_blocks(width)}
    CALLS |= {f"attention {width}, masked={masked}, causal={causal}": attend(width, masked, causal)
              for masked, causal in ((True, False), (False, True), (True, True))}  # fmt: skip
    CALLS |= {f"linear attention {width}, backwards={way}": attend_linearly(width, way) for way in (False, True)}

CASES = [
    (name, capability, dtype)
    for name in CALLS
    for capability, dtype in ((90, torch.bfloat16), (80, torch.bfloat16), (80, torch.float16), (90, torch.float32))
]
USUAL = {("linear attention 64, backwards=False", 90, torch.bfloat16), ("dense 16, forward", 80, torch.float16)}

MULTIPLY = ("_dense._convolve_kernel", "_dense._weight_kernel", "blocks.", "linear.")


@pytest.mark.parametrize(("name", "capability", "dtype"), only(USUAL.__contains__, CASES), ids=str)
def test_kernels_compile(name: str, capability: int, dtype: torch.dtype) -> None:
    with recorded() as launches:
        CALLS[name](dtype)
    assert launches
    for launch in dict.fromkeys(launches):
        check_code(launch, compiled(launch, capability), capability, dtype, is_aligned="dense 3," not in name)


def check_code(launch: "Launch", code: "Compiled", capability: int, dtype: torch.dtype, *, is_aligned: bool) -> None:
    """Check that half types are multiplied by tensor cores from tiles that are copied ahead, and that all fits."""
    assert code.shared <= SHARED[capability], launch.name
    if dtype != torch.float32 and launch.name.startswith(MULTIPLY):
        assert code.count("wgmma.mma_async" if capability == 90 else "mma.sync"), launch.name
        # Rows that begin at any address are not copied ahead: a width that 8 does not divide costs the pipeline.
        assert bool(code.count("cp.async.c")) is is_aligned, launch.name
        if "256" not in str(launch.constants):
            assert code.shared <= CONSUMER, launch.name
    if (spilled := code.spilled()) > SPILLED.get(launch.name, 0):
        pytest.fail(f"{launch.name} keeps {spilled} bytes of registers in memory")
    assert re.search(r"\.target sm_" + str(capability), code.ptx)
