"""Every campaign in its quick form, a longer one marked `long`; `make faults` runs them in full."""

from pathlib import Path

import pytest

from faults import damaged, killed_while_saving, killed_while_training, memory, signalled, unwritable


@pytest.mark.slow
@pytest.mark.parametrize("times", [4, pytest.param(8, marks=pytest.mark.long)])
def test_killed_while_saving(times: int, tmp_path: Path) -> None:
    assert killed_while_saving.run(times, tmp_path / "run").failures == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "times"),
    [(0, 1), pytest.param(0, 3, marks=pytest.mark.long), pytest.param(2, 3, marks=pytest.mark.long)],
)
def test_killed_while_training(workers: int, times: int, tmp_path: Path) -> None:
    assert killed_while_training.run(times, tmp_path, workers).failures == []


@pytest.mark.slow
@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.long)])
def test_signalled(times: int, tmp_path: Path) -> None:
    assert signalled.run(times, tmp_path).failures == []


@pytest.mark.slow
def test_damaged(tmp_path: Path) -> None:
    assert damaged.run(40, tmp_path).failures == []


@pytest.mark.slow
@pytest.mark.parametrize("names", [("too_large", "deleted"), pytest.param((), marks=pytest.mark.long)])
def test_unwritable(names: tuple[str, ...], tmp_path: Path) -> None:
    assert unwritable.run(tmp_path, *names).failures == []


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    assert memory.run(200, tmp_path, "recurring").failures == []
