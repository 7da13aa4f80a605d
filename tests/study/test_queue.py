"""Claims: every run is made once, and again if its process was killed."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from convnn.errors import InputError, OutputError
from convnn.study import queue
from convnn.study.queue import Queue
from convnn.study.sweep import _open_queue
from launch import start, wait
from programs import take_all


def test_runs_are_taken_in_order_and_once(tmp_path: Path) -> None:
    one, other = Queue(tmp_path / "journal", "study"), Queue(tmp_path / "journal", "study")
    one.fill(["a", "b", "c"])
    other.fill(["a", "b", "c"])
    claims = [who.take(["a", "b", "c"]) for who in (one, other, one, other)]
    assert [claim and claim.run for claim in claims] == ["a", "b", "c", None]
    assert set(one.claimed()) == {"a", "b", "c"}
    other.fill(["a", "b", "c"])
    assert other.take(["a", "b", "c"]) is None


def test_a_run_that_is_given_up_can_be_entered_again(tmp_path: Path) -> None:
    claims = Queue(tmp_path / "journal", "study")
    claims.fill(["a", "b"])
    first, second = claims.take(["a", "b"]), claims.take(["a", "b"])
    assert first is not None
    assert second is not None
    claims.finish(first, None)
    claims.finish(second, 0.75)
    assert claims.claimed() == {}
    claims.fill(["a"])
    claim = claims.take(["a", "b"])
    assert claim is not None
    assert claim.run == "a"


def test_waiting_runs_take_the_order_in_which_they_are_entered_again(tmp_path: Path) -> None:
    claims, names = Queue(tmp_path / "journal", "study"), ["a", "b", "c"]
    claims.fill(names)
    first = claims.take(names)
    claims.fill(["c", "a", "b"])
    others = [claims.take(names), claims.take(names), claims.take(names)]
    assert [claim and claim.run for claim in [first, *others]] == ["a", "c", "b", None]


def test_runs_that_the_study_no_longer_has_are_passed_over(tmp_path: Path) -> None:
    claims = Queue(tmp_path / "journal", "study")
    claims.fill(["old", "new"])
    claim = claims.take(["new"])
    assert claim is not None
    assert claim.run == "new"


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    claims = Queue(tmp_path / "journal", "study")
    claims.fill(["a"])
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    claim = claims.take(["a"])
    assert claim is not None
    claim.give_to(process.pid)
    claims.fill(["a"])
    assert claims.take(["a"]) is None
    process.kill()
    process.communicate()
    claims.fill(["a"])
    assert claims.take(["a"]) is not None


def test_a_claim_of_another_machine_stands_until_it_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = Queue(tmp_path / "journal", "study")
    claims.fill(["a"])
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(queue.socket, "gethostname", lambda: "elsewhere")
        assert claims.take(["a"]) is not None
    claims.fill(["a"])
    assert claims.claimed() == {"a": "elsewhere"}
    assert claims.take(["a"]) is None
    claims.fill(["a"], take_over=True)
    assert claims.take(["a"]) is not None


@pytest.mark.slow
def test_several_processes_make_each_run_once(tmp_path: Path) -> None:
    names = [f"run{n}" for n in range(12)]
    logs = [tmp_path / f"{n}.log" for n in range(3)]
    processes = [start(take_all, tmp_path, names, log=log) for log in logs]
    assert [wait(process) for process in processes] == [0, 0, 0], [log.read_text() for log in logs]
    assert Counter(line for log in logs for line in log.read_text().split()) == dict.fromkeys(names, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"journal' cannot be written"):
        Queue(tmp_path / "journal", "study")


def test_a_missing_package_is_named_and_a_broken_one_speaks_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "convnn.study.queue")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "optuna", None)
        with pytest.raises(InputError, match=r"a sweep needs the package optuna: pip install 'convnn\[sweep\]'"):
            _open_queue(tmp_path, "study")
    monkeypatch.setitem(sys.modules, "convnn.study.queue", ModuleType("half installed"))
    with pytest.raises(ImportError, match="cannot import name 'Queue'"):
        _open_queue(tmp_path, "study")
