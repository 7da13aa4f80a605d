"""The table of docs/backends.md says what the code does."""

import re

import pytest
import torch

from convnn.backends import cpu, reference, triton
from convnn.backends.request import Request
from convnn.ops._dispatch import BACKENDS
from fences import ROOT


def table() -> dict[str, list[str]]:
    """Rows of the first table of the page by their first cell."""
    text = (ROOT / "docs" / "backends.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in rows}


def reasons(backend, operator: str = "nearest", device: str = "cpu", dtype=torch.float32, K=9, channels=16, groups=1):
    """Why a backend refuses a request, apart from what this machine lacks."""
    here = set(backend.unavailable_reasons())
    found = backend.unsupported_reasons(Request(operator, torch.device(device), dtype, K, channels, groups))
    return [reason for reason in found if reason not in here]


def test_columns_are_the_backends() -> None:
    assert [cell.strip("`") for cell in table()[""]] == list(BACKENDS) == ["cpu", "triton", "reference"]


def test_devices() -> None:
    assert table()["runs on"][0].startswith("CPU")
    assert table()["runs on"][1].startswith("CUDA")
    assert not reasons(cpu)
    assert reasons(cpu, device="cuda")
    assert not reasons(triton, device="cuda")
    assert not reasons(reference)
    assert not reasons(reference, device="meta")


def test_operators_and_gradients() -> None:
    operators = ("nearest", "nearest_in_lists", "one_of_each", "similarity", "convolve", "largest", "attend_to_blocks")
    gradients = ("similarity_backward", "convolve_backward", "attend_to_blocks_backward")
    for backend in (cpu, triton, reference):
        for operator in operators + gradients:
            assert callable(getattr(backend, operator))


@pytest.mark.skipif(triton.INTERPRETS, reason="Triton's interpreter has no bfloat16")
def test_types() -> None:
    named = re.findall(r"b?float\d+", table()["types"][1])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert not reasons(cpu, dtype=dtype)
        assert not reasons(reference, dtype=dtype)
        assert bool(reasons(triton, device="cuda", dtype=dtype)) is (str(dtype).removeprefix("torch.") not in named)


def test_largest_K() -> None:
    assert table()["K"][::2] == ["any", "any"]
    assert table()["K"][1].startswith("any")
    for operator in ("nearest", "nearest_in_clusters", "convolve"):
        for backend, device in ((cpu, "cpu"), (triton, "cuda"), (reference, "cpu")):
            assert not reasons(backend, operator, device, K=10_000)


def test_groups() -> None:
    assert table()["groups"] == ["any", "1 or one a channel", "any"]
    for groups, refused in ((1, False), (16, False), (4, True)):
        assert bool(reasons(triton, "convolve", "cuda", groups=groups)) is refused
        assert not reasons(cpu, "convolve", groups=groups)
        assert not reasons(reference, "convolve", groups=groups)
