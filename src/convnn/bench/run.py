"""The judgement and the times of a candidate, from a process of its own."""

import math
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convnn.bench import filters
from convnn.bench.files import Candidate
from convnn.bench.judge import Judge, RefusalError, Verdict
from convnn.bench.measure import Times
from convnn.bench.process import INTERPRETS, EndedError, Limits, call
from convnn.bench.static import static_checks
from convnn.bench.task import Case, Task, draw, redraw, shrunk, tensors
from convnn.bench.tasks import find_task
from convnn.bench.timing import Timing, time_candidate
from convnn.errors import InputError, check_at_least, check_choice

ROUNDS = 20
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Result:
    """What is known of a candidate at a task.

    Attributes:
        task, candidate: their names.
        verdict: the judgement.
        timing: the times; None where it is wrong, or was not timed.
        warnings: static checks that its source hits.
        digest: what tells this candidate from another of its name.
    """

    task: str
    candidate: str
    verdict: Verdict
    timing: Timing | None = None
    warnings: tuple[str, ...] = ()
    digest: str = ""

    @property
    def is_unsupported(self) -> bool:
        """Whether the candidate says that it computes no case of this task."""
        return not self.verdict.correct and not self.verdict.reason

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Result":
        """Return the result that `as_json` wrote.

        Raises:
            InputError: it is none.
        """
        try:
            timing = found["timing"]
            if timing is not None:
                times = {name: Times(**timing[name]) for name in ("baseline", "runtime")}
                timing = Timing(**times, speedup=timing["speedup"], megabytes=timing["megabytes"])
            verdict, warnings = Verdict(**found["verdict"]), tuple(found["warnings"])
            return cls(found["task"], found["candidate"], verdict, timing, warnings, found["digest"])
        except (KeyError, TypeError) as error:
            raise InputError(f"a result of a candidate lacks or has too much: {error}") from None


def new_seed() -> int:
    """Return a seed that no candidate has seen."""
    return secrets.randbelow(2**31)


def run(
    task: Task,
    candidate: Candidate,
    *,
    seed: int | None = None,
    rounds: int = ROUNDS,
    limits: Limits | None = None,
    device: str = "cpu",
    is_first_look: bool = False,
) -> Result:
    """Judge and time a candidate in a process of its own.

    Args:
        task: the task.
        candidate: a file or a backend.
        seed: seed of all inputs; None draws one.
        rounds: how often it is timed; 0 leaves the times out.
        limits: of the process.
        device: "cpu" or "cuda".
        is_first_look: whether to judge in the first setting alone.

    Raises:
        InputError: an argument is out of range.
    """
    check_at_least("rounds", rounds, 0)
    check_choice("device", device, DEVICES)
    source = Path(candidate.path).read_text(encoding="utf-8", errors="replace") if candidate.path else ""
    found = static_checks(source) if source else None
    warnings = (*found.errors, *found.warnings) if found else ()
    environment = {INTERPRETS: "1"} if "triton" in (candidate.backend or source) and device == "cpu" else {}
    result = Result(task.name, candidate.name, Verdict(False), None, warnings, candidate.digest())
    arguments = (task.origin or task, candidate, new_seed() if seed is None else seed, rounds, device, is_first_look)
    try:
        verdict, timing = call(_run_here, *arguments, limits=limits or Limits(), environment=environment)
    except EndedError as ended:
        return replace(result, verdict=Verdict(False, "exception", str(ended), math.nan))
    return replace(result, verdict=verdict, timing=timing)


def verify(task: Task, candidate: Candidate, *, seed: int | None = None, limits: Limits | None = None) -> Verdict:
    """Return whether a candidate computes what the definition says; it runs in a process of its own.

    For every case of the task the candidate is called on inputs drawn from the seed, on other numbers in the same
    memory, and on the first ones again; then it is differentiated twice. Results and all gradients are compared with
    those of the definition in float64 (`agreement.expected`), which were computed before the candidate was loaded, and
    inputs with what they were.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Ouyang et al., "KernelBench", arXiv 2502.10517; Lange et al., "robust-kbench", arXiv 2509.14279.
    """
    return run(task, candidate, seed=seed, rounds=0, limits=limits).verdict


def time(
    task: Task,
    candidate: Candidate,
    *,
    rounds: int = ROUNDS,
    seed: int | None = None,
    limits: Limits | None = None,
) -> Timing:
    """Return the times of a candidate that is right, beside those of the definition.

    Raises:
        InputError: the candidate is wrong, which the message explains, or an argument is out of range.
    """
    check_at_least("rounds", rounds, 1)
    result = run(task, candidate, seed=seed, rounds=rounds, limits=limits)
    if result.timing is None:
        verdict = result.verdict
        why = f"{verdict.reason}: {verdict.detail}" if verdict.reason else "it computes no case of the task"
        raise InputError(f"candidate {candidate.name!r} of task {task.name!r} cannot be timed: {why}")
    return result.timing


def looks_right(task: Task, candidate: Candidate, *, limits: Limits | None = None) -> bool:
    """Return a cheap guess whether a candidate is right: static checks, and a run on the smallest setting."""
    source = Path(candidate.path).read_text(encoding="utf-8", errors="replace") if candidate.path else ""
    hits = static_checks(source).hits
    is_suspect = any(hits[name] for name in ("timing_event_patch", "thread_injection", "lazy_eval"))
    return not is_suspect and run(task, candidate, rounds=0, limits=limits, is_first_look=True).verdict.correct


def flags_of(task: Task, *, seeds: int = filters.SEEDS, threshold: float = filters.THRESHOLD) -> dict[str, bool]:
    """Return which filters throw a task out, by its first results in its first setting.

    Raises:
        InputError: there are fewer than two seeds, or the threshold is not positive.
    """
    check_at_least("seeds", seeds, 2)
    case = Case(task.settings[0], task.values[0], torch.float64, "dense")
    model = draw(task, case, 0)
    drawn = [
        [draw(task, case, seed) for seed in range(seeds)],
        [redraw(task, case, seed, model) for seed in range(seeds)],
    ]
    with torch.no_grad():
        outputs = [torch.stack([tensors(task.reference(*one))[0].double() for one in each]) for each in drawn]
    return filters.task_flags(*outputs, threshold=threshold)


def _run_here(
    task: Task | str, candidate: Candidate, seed: int, rounds: int, device: str, is_first_look: bool
) -> tuple[Verdict, Timing | None]:
    """Judge and time; called in a process of its own."""
    task = find_task(task) if isinstance(task, str) else task
    judge = Judge(shrunk(task) if is_first_look else task, seed, device)
    verdict, function = judge.verdict(lambda: candidate.load(task))
    if function is None or not verdict.correct or not rounds:
        return verdict, None
    try:
        return verdict, time_candidate(judge, function, rounds, seed + 1)
    except RefusalError as refusal:
        return replace(verdict, correct=False, reason=refusal.reason, detail=f"{refusal.detail} (timed)"), None
