"""The queue of runs: claims that processes on several machines share through a file."""

import os
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from convnn.errors import OutputError

RUN, HOST, PID, STARTED = "run", "host", "pid", "started"
"""Attributes of a claim: the run, and the process that works on it."""


@dataclass(frozen=True)
class Claim:
    """A run that a process has claimed.

    Attributes:
        run: name of the run.
        trial: Optuna trial that shows the claim to other processes.
    """

    run: str
    trial: Trial

    def give_to(self, pid: int) -> None:
        """Tie the claim to a process of this machine, with which it ends."""
        self.trial.set_user_attr(HOST, socket.gethostname())
        self.trial.set_user_attr(STARTED, psutil.Process(pid).create_time())
        self.trial.set_user_attr(PID, pid)


class Queue:
    """The pending runs of a study, as an Optuna study whose trials are claims.

    Every process takes the next unclaimed run. A claim ends with its process, so that a run whose process was killed
    is taken again. Processes on several machines share one queue through a file that all of them can access.

    Args:
        journal: the file, in an existing folder.
        name: name of the study.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, journal: Path, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._lock = JournalFileOpenLock(f"{journal}.claims", grace_period=10)
        try:
            # A lock file opened in exclusive mode is safe on shared file systems.
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
        except OSError as error:
            raise OutputError(f"'{journal}' cannot be written: {error.strerror or error}") from None

    def fill(self, names: Sequence[str], *, take_over: bool = False) -> None:
        """Put the unclaimed of these runs into the queue, in this order.

        Args:
            names: names of the runs.
            take_over: discard claims of other machines, whose processes cannot be checked from here.
        """
        with self._locked():
            for trial in self._trials(TrialState.RUNNING):
                if not is_alive(trial.user_attrs, if_elsewhere=not take_over):
                    self._end(trial.number, TrialState.FAIL)
            claimed = {trial.user_attrs.get(RUN) for trial in self._trials(TrialState.RUNNING)}
            waiting = [trial.user_attrs.get(RUN) for trial in self._trials(TrialState.WAITING)]
            wanted = [name for name in names if name not in claimed]
            if [name for name in waiting if name in names] == wanted:
                return
            for _ in waiting:  # Optuna can end only what was asked for
                self._end(self._study.ask().number, TrialState.FAIL)
            for name in wanted + [name for name in waiting if name not in names]:
                self._study.enqueue_trial({}, user_attrs={RUN: name})

    def take(self, names: Collection[str]) -> "Claim | None":
        """Claim the next of some runs for this process; return None if none is waiting."""
        with self._locked():
            while True:
                trial = self._study.ask()
                name = trial.user_attrs.get(RUN)
                if name is not None and name in names:
                    claim = Claim(name, trial)
                    claim.give_to(os.getpid())
                    return claim
                self._end(trial.number, TrialState.FAIL)
                if name is None:  # none was waiting, so Optuna created a new trial
                    return None

    def finish(self, claim: "Claim", accuracy: float | None) -> None:
        """End a claim with the best accuracy of the run, or None if the run is not finished."""
        if accuracy is None:
            self._end(claim.trial.number, TrialState.FAIL)
        else:
            self._study.tell(claim.trial.number, accuracy, skip_if_finished=True)

    def claimed(self) -> dict[str, str]:
        """Return the claimed runs, each with its host."""
        return {
            trial.user_attrs[RUN]: trial.user_attrs.get(HOST, "?")
            for trial in self._trials(TrialState.RUNNING)
            if RUN in trial.user_attrs
        }

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def _end(self, number: int, state: TrialState) -> None:
        self._study.tell(number, state=state, skip_if_finished=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the queue against other processes, so that no run is added twice."""
        self._lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # another process took the lock after the grace period
                self._lock.release()


def is_alive(claim: dict[str, Any], *, if_elsewhere: bool) -> bool:
    """Return whether the process of a claim still runs, or `if_elsewhere` if it is on another machine."""
    if claim.get(HOST, socket.gethostname()) != socket.gethostname():
        return if_elsewhere
    try:
        return bool(psutil.Process(claim[PID]).create_time() == claim[STARTED])
    except (KeyError, psutil.Error):
        return False
