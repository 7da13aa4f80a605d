"""Every campaign in its quick form; `make faults` runs them in full."""

from pathlib import Path

import pytest

from faults import damaged, killed_while_saving, killed_while_training, memory, signalled, unwritable


def test_killed_while_saving(tmp_path: Path) -> None:
    assert killed_while_saving.run(8, tmp_path / "run").failures == []


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_while_training(workers: int, tmp_path: Path) -> None:
    assert killed_while_training.run(3, tmp_path, workers).failures == []


def test_signalled(tmp_path: Path) -> None:
    assert signalled.run(10, tmp_path).failures == []


def test_damaged(tmp_path: Path) -> None:
    assert damaged.run(40, tmp_path).failures == []


def test_unwritable(tmp_path: Path) -> None:
    assert unwritable.run(tmp_path).failures == []


def test_memory(tmp_path: Path) -> None:
    assert memory.run(200, tmp_path, "recurring").failures == []
