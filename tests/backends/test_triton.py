"""What Triton's kernels run, and what not; the tests of the kernels, `test_triton_*.py`, run in its interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from convnn.backends import triton
from convnn.backends.request import Request
from pairwise import only
from triton_kernels import RUNS


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
