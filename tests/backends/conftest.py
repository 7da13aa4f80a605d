"""The compiled core, for every instruction set of this machine, and a search in Triton that keeps few neighbours."""

from collections.abc import Iterator
from importlib import import_module

import pytest
import torch

from convnn.backends import cpu
from convnn.backends.cpu import _blocks, _kernel_product, _scan, _sliding


def _instruction_sets() -> list[str]:
    if cpu.core is None:
        return ["none"]
    return import_module("convnn.backends.cpu._core_portable").instruction_sets()


@pytest.fixture(params=_instruction_sets())
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the backend use one instruction set instead of the best."""
    module = import_module(f"convnn.backends.cpu._core_{request.param}")
    for caller in (cpu, _blocks, _kernel_product, _scan, _sliding):
        monkeypatch.setattr(caller, "core", module)
    return request.param


@pytest.fixture
def each_thread_count() -> Iterator[tuple[int, ...]]:
    """Numbers of threads to set; the one before comes back."""
    before = torch.get_num_threads()
    yield (1, 2, 3)
    torch.set_num_threads(before)


@pytest.fixture
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep four neighbours in registers, so that more of them need a second pass."""
    from convnn.backends.triton import select as kernels

    monkeypatch.setattr(kernels, "MAX_SLOTS", 4)
