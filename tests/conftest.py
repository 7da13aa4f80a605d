import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnn.cli import main_train

os.environ.pop("COLUMNS", None)  # workers have one, and what is printed into a file must not be as wide as it says

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores; more threads than cores make all of them slower


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trains with flags, into a folder of its own."""

    def train(flags: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        assert main_train([*flags.split(), "--output_dir", str(folder)]) == 0
        return folder

    return train
