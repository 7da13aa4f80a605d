import stat
from pathlib import Path

import pytest

from convnn.errors import OutputError
from convnn.files import make_folder, write_atomically


def test_parts_follow_each_other_and_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_atomically(path, "old")
    write_atomically(path, "n", b"e", memoryview(b"w"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_old_file_can_be_kept(tmp_path: Path) -> None:
    last, previous = tmp_path / "last", tmp_path / "previous"
    for number in "123":
        write_atomically(last, number, old_to=previous)
    assert (last.read_text(), previous.read_text()) == ("3", "2")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_failed_write_keeps_the_old_files_and_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, previous = tmp_path / "last", tmp_path / "previous"
    for number in "12":
        write_atomically(last, number, old_to=previous)

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)) as caught:
        write_atomically(last, "3", old_to=previous)
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write '{last}': No space left on device"
    assert (last.read_text(), previous.read_text()) == ("2", "1")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write '.*gone/metrics.csv': No such file or directory"):
        write_atomically(tmp_path / "gone" / "metrics.csv", "new")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"--out=.*file/folder cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "folder", "--out")
    assert make_folder(tmp_path / "a" / "b", "--out").is_dir()
