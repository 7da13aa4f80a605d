"""The execution of a study: its missing runs, several at once, possibly by several processes and machines."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from convnn.files import make_folder, write_atomically
from convnn.packages import need, reason
from convnn.study.definition import PlannedRun, Study
from convnn.study.device import Device
from convnn.study.differences import differences_markdown
from convnn.study.plots import draw_loss_curves, draw_plot
from convnn.study.results import Group, Result, group_results, read_result, results_csv, results_markdown
from convnn.study.worker import Worker

if TYPE_CHECKING:
    from convnn.study.queue import Claim, Queue

JOURNAL = "queue.journal"
"""The file that records which process works on which run."""

PAUSE = 1.0
"""Seconds between two checks of the runs."""


@dataclass(frozen=True)
class Job:
    """A run that this process has started."""

    claim: "Claim"
    worker: Worker


class Sweep:
    """The runs of a study on the devices of this machine.

    Finished runs are skipped, and interrupted runs are resumed first. Other processes may sweep the same study at the
    same time, here or on machines that can access its folder; every run is made once.

    Args:
        study: study to run.
        devices: devices, with one run on each.
        take_over: take over the unfinished runs of other machines.

    Attributes:
        results: results of the started runs, by name.
        failed: reasons of failed runs, by name.
        undrawn: why a picture is missing; empty if none is.
        jobs: runs in progress in this process.

    Raises:
        InputError: the folder holds a run with other flags.
        OutputError: the folder of the study cannot be written.
    """

    def __init__(self, study: Study, devices: Sequence[Device], *, take_over: bool = False) -> None:
        self.study = study
        self.planned = {run.name: run for run in study.runs}
        self.results = {name: result for name, run in self.planned.items() if (result := read_result(run)) is not None}
        self.failed: dict[str, str] = {}
        self.undrawn = ""
        self.jobs: list[Job] = []
        self._devices = list(devices)
        self._take_over = take_over

    def run(self, watch: Callable[["Sweep"], None]) -> None:
        """Make all runs, then write the results.

        Args:
            watch: function that is called about every second.
        """
        try:
            while self._advance():
                watch(self)
                time.sleep(PAUSE)
        finally:
            self._stop()
        self.write_results()
        watch(self)

    @cached_property
    def _queue(self) -> "Queue":
        return _open_queue(make_folder(self.study.folder, "output_dir of the study"), self.study.name)

    @property
    def elsewhere(self) -> dict[str, str]:
        """Runs in progress in other processes, each with its host."""
        if not (self.study.folder / JOURNAL).exists():
            return {}
        ours = {job.claim.run for job in self.jobs}
        return {name: host for name, host in self._queue.claimed().items() if name not in ours}

    def is_finished(self, name: str) -> bool:
        """Return whether a run is finished."""
        return name in self.results and self.results[name].is_finished

    def write_results(self) -> None:
        """Write results.csv, results.md, curves.png and the pictures of the study, for all runs so far.

        Other processes write them too. If a run has finished in the meantime they are written again, so that the last
        process to write includes all runs.
        """
        written = None
        while (finished := self._read_unfinished()) != written:
            self._write_results()
            written = finished

    def _read_unfinished(self) -> list[str]:
        """Read the unfinished runs, which other processes may be making, and return the names of the finished ones."""
        for run in self.study.runs:
            if not self.is_finished(run.name):
                self._read(run)
        return [name for name in self.planned if self.is_finished(name)]

    def _write_results(self) -> None:
        results = [self.results[run.name] for run in self.study.runs if run.name in self.results]
        groups, folder = group_results(self.study, results), self.study.folder
        write_atomically(folder / "results.csv", results_csv(self.study, results))
        tables = results_markdown(self.study, groups) + differences_markdown(self.study, groups)
        write_atomically(folder / "results.md", tables)
        try:
            self._draw(groups)
        except Exception as error:  # fonts, disks or anything else a picture needs must not stop the runs
            self.undrawn = reason(error)

    def _draw(self, groups: Sequence[Group]) -> None:
        if groups:
            draw_loss_curves(groups, self.study.folder / "curves.png")
            for number, plot in enumerate(self.study.plots, start=1):
                draw_plot(plot, groups, self.study.folder / f"{number}_{plot.y}_by_{plot.x}.png")

    def _advance(self) -> bool:
        """End finished jobs and start the next ones; return whether any job is running."""
        for job in list(self.jobs):
            self._read(job.worker.run)
            if job.worker.status is not None:
                self._end(job)
        missing = [name for name in self.planned if not self.is_finished(name) and name not in self.failed]
        if len(self.jobs) < len(self._devices) and missing:
            self._begin(missing)
        return bool(self.jobs)

    def _begin(self, missing: Sequence[str]) -> None:
        interrupted_first = sorted(missing, key=lambda name: name not in self.results)
        self._queue.fill(interrupted_first, take_over=self._take_over)
        self._take_over = False  # from now on, claims of other machines belong to running processes
        busy = [job.worker.device for job in self.jobs]
        for device in self._devices:
            if device in busy:
                busy.remove(device)
            elif (claim := self._queue.take(missing)) is not None:
                self._start(claim, device)

    def _start(self, claim: "Claim", device: Device) -> None:
        run = self.planned[claim.run]
        self._read(run)
        if self.is_finished(claim.run):  # by another process since the last check
            self._queue.finish(claim, self.results[claim.run].value("best"))
            return
        worker = Worker(run, device)
        claim.give_to(worker.pid)
        self.jobs.append(Job(claim, worker))

    def _end(self, job: Job) -> None:
        job.worker.wait()
        self.jobs.remove(job)
        name = job.claim.run
        self._read(job.worker.run)
        if self.is_finished(name):
            self._queue.finish(job.claim, self.results[name].value("best"))
        else:
            self._queue.finish(job.claim, None)
            self.failed[name] = job.worker.reason()
        self.write_results()

    def _read(self, run: PlannedRun) -> None:
        result = read_result(run)
        if result is not None:
            self.results[run.name] = result

    def _stop(self) -> None:
        """Ask the running jobs to save and end, and wait for them."""
        for job in self.jobs:
            job.worker.stop()
        for job in self.jobs:
            job.worker.wait()
            self._queue.finish(job.claim, None)
        self.jobs.clear()


def _open_queue(folder: Path, name: str) -> "Queue":
    """Open the queue; imported here because only sweeps need Optuna."""
    for package in ("optuna", "psutil"):
        need(package, "a sweep", extra="sweep")
    from convnn.study.queue import Queue

    return Queue(folder / JOURNAL, name)


def states(sweep: Sweep) -> dict[str, tuple[str, Result | None]]:
    """Return the state of every run and its result, or None if no epoch is done."""
    running = {job.claim.run: job.worker.device.name for job in sweep.jobs}
    elsewhere = sweep.elsewhere
    result = {}
    for name in sweep.planned:
        if sweep.is_finished(name):
            state = "finished"
        elif name in sweep.failed:
            state = "failed"
        elif name in running:
            state = f"on {running[name]}"
        else:
            state = f"at {elsewhere[name]}" if name in elsewhere else "waiting"
        result[name] = (state, sweep.results.get(name))
    return result
