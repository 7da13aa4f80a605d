import errno
import os
import stat
from pathlib import Path

import pytest

from convnn.errors import InputError, OutputError
from convnn.files import expand_home, is_same_folder, make_folder, write_atomically


def test_parts_follow_each_other_and_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_atomically(path, "old")
    write_atomically(path, "n", b"e", memoryview(b"w"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o027])
def test_a_new_file_has_the_permissions_that_open_gives(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "ours", "x")
        (tmp_path / "opened").write_text("x")
    finally:
        os.umask(before)
    ours, opened = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "opened"))
    assert ours == opened == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    last, previous = tmp_path / "last", tmp_path / "previous"
    write_atomically(last, "old")
    last.chmod(mode)
    for _ in range(2):
        write_atomically(last, "new", old_to=previous)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (last, previous)] == [mode, mode]


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOTSUP, errno.EPERM], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["chmod", "fsync"])
def test_what_a_file_system_does_not_offer_is_done_without(
    call: str, answer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, path = os.fsync, tmp_path / "last"
    write_atomically(path, "old")

    def refuse(what: object, *_: object, **__: object) -> None:
        if call == "fsync" and not stat.S_ISDIR(os.fstat(what).st_mode):
            return fsync(what)  # files can be flushed, folders cannot
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, call, refuse)
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_full_when_it_is_flushed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="last': Input/output error"):
        write_atomically(tmp_path / "last", "new")


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
    with pytest.raises(OutputError, match=r"--out=.*file/folder cannot be created: Not a directory"):
        make_folder(tmp_path / "file" / "folder", "--out")
    assert make_folder(tmp_path / "a" / "b", "--out").is_dir()


def test_a_home_is_expanded_and_everything_else_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert expand_home("~/runs/a", "--out") == "/home/ann/runs/a"
    assert expand_home("~", "--out") == "/home/ann"
    for path in ("./Data", "runs/~", "a~", "."):
        assert expand_home(path, "--out") == path


def test_no_path_and_the_home_of_nobody_are_refused() -> None:
    with pytest.raises(InputError, match=r"^--out='' is not a path; name a file or folder"):
        expand_home("", "--out")
    with pytest.raises(InputError, match=r"^--out=~nobody-here/x begins with ~nobody-here, but no such user exists"):
        expand_home("~nobody-here/x", "--out")


def test_a_folder_is_known_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    other.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a/.", "./a", "b/../a", "link", str(folder)):
        assert is_same_folder(Path(name), folder)
    assert not is_same_folder(other, folder)
    assert not is_same_folder(tmp_path / "gone", tmp_path / "gone")
