import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: threads that wait must not spin
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores, and so do processes that they start

import torch

from convnn.cli import _callbacks, main_train
from launch import UNDRAWN, leave_undrawn
from processor_time import (  # noqa: F401  hooks
    add_option,
    pytest_collection_finish,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)

os.environ.pop("COLUMNS", None)  # workers set it, but files must not be as narrow as a terminal


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="the first case of every test that is not slow")
    add_option(parser)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect garbage rarely, and never among the collected tests, which would take half a second each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tests of a file on one worker, so that what they share is computed once."""
    if item.config.pluginmanager.hasplugin("xdist") and item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(trylast=True)  # of what is left of -m and -k
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        first: dict[str, pytest.Item] = {}
        for item in items:
            if item.get_closest_marker("slow") is None:
                first.setdefault(item.nodeid.split("[")[0], item)
        chosen = set(first.values())
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = first.values()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed notes the stack for devices that are not there
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)
    np.random.seed(0)  # which generators of graphs in PyTorch Geometric draw from


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    if "torch._dynamo" in sys.modules:  # which takes a second to import
        torch.compiler.reset()


@pytest.fixture(scope="session", autouse=True)
def _undrawn_curves() -> Iterator[None]:
    """Leave the curves of runs undrawn, here and in processes that tests fork: nine tenths of a tiny run draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(UNDRAWN, "yes")
        patch.setattr(_callbacks, "draw_curves", leave_undrawn)
        yield


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains with flags into a new folder."""

    def train(flags: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        assert main_train([*flags.split(), "--output_dir", str(folder)]) == 0
        return folder

    return train
