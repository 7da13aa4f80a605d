"""Whole runs: what they left, whether two of them are the same to the bit, and their end in the middle."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from convnn.train import Trainer, read_checkpoint


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def weights_of(folder: Path) -> dict[str, Tensor]:
    return read_checkpoint(folder / "last.safetensors").weights


def assert_same(ours: Path, theirs: Path) -> None:
    """Assert that two runs have the same tables and, after the last epoch, the same weights."""
    assert (ours / "metrics.csv").read_text() == (theirs / "metrics.csv").read_text()
    first, second = weights_of(ours), weights_of(theirs)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """Let a run here fail as if memory were short, after this many steps."""
    done, original = [], Trainer._train_group

    def count(trainer: Trainer, batches: Any) -> None:
        original(trainer, batches)
        done.append(1)
        if len(done) == steps:
            raise MemoryError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_train_group", count)
        yield
