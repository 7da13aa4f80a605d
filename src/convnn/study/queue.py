"""Which run is whose: claims that processes on several machines share through a file."""

import os
import socket
from collections.abc import Collection, Iterable, Iterator
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
"""What a claim says of itself: which run, and the process that makes it."""


@dataclass(frozen=True)
class Claim:
    """A run that a process makes.

    Attributes:
        run: its name.
        trial: of Optuna, which says so to others.
    """

    run: str
    trial: Trial

    def give_to(self, pid: int) -> None:
        """Let the claim last as long as a process of this machine."""
        self.trial.set_user_attr(HOST, socket.gethostname())
        self.trial.set_user_attr(STARTED, psutil.Process(pid).create_time())
        self.trial.set_user_attr(PID, pid)


class Queue:
    """The runs of a study that are to be made, as an Optuna study whose trials are claims.

    Every process takes the next run that nobody has; a claim ends with its process, so that a run whose process was
    killed is taken again. Processes on several machines share one queue through a file that they all see.

    Args:
        journal: the file, in a folder that exists.
        name: of the study.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, journal: Path, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._lock = JournalFileOpenLock(f"{journal}.claims", grace_period=10)
        try:
            # A lock by a file that must not exist yet is safe on the file systems that machines share.
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
        except OSError as error:
            raise OutputError(f"'{journal}' cannot be written: {error.strerror or error}") from None

    def fill(self, names: Iterable[str], *, take_over: bool = False) -> None:
        """Enter runs that are to be made, unless somebody has them or they wait already.

        Args:
            names: the runs.
            take_over: give up claims of other machines, of whose processes nothing can be known here.
        """
        with self._alone():
            for trial in self._trials(TrialState.RUNNING):
                if not is_alive(trial.user_attrs, if_elsewhere=not take_over):
                    self._end(trial.number, TrialState.FAIL)
            known = {trial.user_attrs.get(RUN) for trial in self._trials(TrialState.WAITING, TrialState.RUNNING)}
            for name in names:
                if name not in known:
                    self._study.enqueue_trial({}, user_attrs={RUN: name})

    def take(self, names: Collection[str]) -> "Claim | None":
        """Claim the next of some runs for this process; None: nobody waits."""
        with self._alone():
            while True:
                trial = self._study.ask()
                name = trial.user_attrs.get(RUN)
                if name is not None and name in names:
                    claim = Claim(name, trial)
                    claim.give_to(os.getpid())
                    return claim
                self._end(trial.number, TrialState.FAIL)
                if name is None:  # none was waiting, and Optuna has made one up
                    return None

    def finish(self, claim: "Claim", accuracy: float | None) -> None:
        """End a claim, with the best accuracy of the run; None where it has not reached its end."""
        if accuracy is None:
            self._end(claim.trial.number, TrialState.FAIL)
        else:
            self._study.tell(claim.trial.number, accuracy, skip_if_finished=True)

    def claimed(self) -> dict[str, str]:
        """Runs that somebody makes, each with the host."""
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
    def _alone(self) -> Iterator[None]:
        """Nobody else fills the queue meanwhile, so that no run is entered twice."""
        self._lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # taken from us, when we were too slow
                self._lock.release()


def is_alive(claim: dict[str, Any], *, if_elsewhere: bool) -> bool:
    """Whether the process that claimed is still there; `if_elsewhere` where it is on another machine."""
    if claim.get(HOST, socket.gethostname()) != socket.gethostname():
        return if_elsewhere
    try:
        return bool(psutil.Process(claim[PID]).create_time() == claim[STARTED])
    except (KeyError, psutil.Error):
        return False
