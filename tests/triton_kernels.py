"""What the tests of Triton kernels share: inputs, where they run, and outputs that are poisoned before."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from convnn.backends import triton

RUNS = not triton.unavailable_reasons()
DEVICE = "cpu" if triton.INTERPRETS or not torch.cuda.is_available() else "cuda"
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
METRICS = ("cosine", "euclidean", "matmul")
TOLERANCES = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.float16: {"rtol": 1e-2, "atol": 1e-2},
    torch.bfloat16: {"rtol": 5e-2, "atol": 1e-1},
}

needs_kernels = pytest.mark.skipif(not RUNS, reason="; ".join(triton.unavailable_reasons()))


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Fill outputs, so that values that a kernel does not write cannot be right by chance; and interpret quickly."""

    def fill(x: Tensor) -> Tensor:
        return x.fill_(float("nan")) if x.is_floating_point() else x.fill_(min(2**30, torch.iinfo(x.dtype).max))

    with pytest.MonkeyPatch.context() as patch:
        if triton.INTERPRETS:
            _prepare_once_a_launch(patch)
        for owner, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
            allocate = getattr(owner, name)
            patch.setattr(owner, name, lambda *sizes, _allocate=allocate, **kind: fill(_allocate(*sizes, **kind)))
        yield


def _prepare_once_a_launch(patch: pytest.MonkeyPatch) -> None:
    """Let the interpreter replace the language's functions once a launch, not in each call: half of the time."""
    from triton.runtime.interpreter import GridExecutor, InterpretedFunction

    launch, call_anew = GridExecutor.__call__, InterpretedFunction.__call__
    prepared: set[str] = set()

    def begin(self: GridExecutor, *arguments: object, **named: object) -> None:
        prepared.clear()
        launch(self, *arguments, **named)

    def call(self: InterpretedFunction, *arguments: object, **named: object) -> object:
        module = self.fn.__module__
        if module in prepared:
            return self.rewrite()(*arguments, **named)
        prepared.add(module)
        return call_anew(self, *arguments, **named)

    patch.setattr(GridExecutor, "__call__", begin)
    patch.setattr(InterpretedFunction, "__call__", call)


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def neighbors(batch: int, count: int, K: int, length: int) -> Tensor:
    return torch.randint(length, (batch, count, K), generator=torch.Generator().manual_seed(1)).to(DEVICE)
