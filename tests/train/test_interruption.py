"""Signals, and the time at which a checkpoint is due."""

import signal
import threading

import pytest

from convnn.errors import InputError
from convnn.train import Interrupted, Interruption
from convnn.train.timer import SaveTimer, parse_interval


def stop_inside(interruption: Interruption, number: int, holds: int, done: list[int]) -> None:
    """Raise a signal inside nested holds, and record which of them finished."""
    if not holds:
        signal.raise_signal(number)
        done.append(0)
        return
    with interruption.held():
        stop_inside(interruption, number, holds - 1, done)
        done.append(holds)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("holds", [0, 1, 2])
def test_a_signal_stops_when_nothing_holds_it_and_handlers_come_back(
    number: signal.Signals, status: int, holds: int
) -> None:
    before, done = signal.getsignal(number), []
    with Interruption() as interruption, pytest.raises(Interrupted, match=f"stopped by {number.name}") as caught:
        stop_inside(interruption, number, holds, done)
    assert caught.value.exit_status == status
    assert done == ([] if holds == 0 else list(range(holds + 1)))
    assert signal.getsignal(number) is before


def test_an_error_in_what_is_held_is_not_hidden_by_a_signal() -> None:
    def fail(interruption: Interruption) -> None:
        with interruption.held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("first")

    with Interruption() as interruption, pytest.raises(ValueError, match="first"):
        fail(interruption)


def test_nothing_catches_it_by_chance() -> None:
    assert not issubclass(Interrupted, Exception)


def test_other_threads_hear_nothing_and_fail_at_nothing() -> None:
    failures = []

    def listen() -> None:
        try:
            with Interruption() as interruption:
                interruption.check()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert failures == []


def test_steps_are_counted_since_the_last_checkpoint() -> None:
    timer = SaveTimer("3")
    due = []
    for _ in range(7):
        due.append(timer.is_due())
        if due[-1]:
            timer.restart()
    assert due == [False, False, True, False, False, True, False]


def test_time_is_counted_since_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    timer = SaveTimer("2m")
    now[0] += 119
    assert not timer.is_due()
    now[0] += 1
    assert timer.is_due()
    timer.restart()
    assert not timer.is_due()
    assert not SaveTimer(None).is_due()


@pytest.mark.parametrize("every", ["0", "0m", "-1", "m", "1.5h", "10 m", "5d", ""])
def test_other_intervals_are_refused(every: str) -> None:
    with pytest.raises(InputError, match=r"--checkpoint_every=.* must be a number of steps such as 500, or a time"):
        parse_interval(every)
