"""Times of a candidate and of the definition, interleaved, on new numbers in the same memory in every call."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from convnn.bench.agreement import expected, trial_seeds
from convnn.bench.judge import Draw, Judge, refill
from convnn.bench.measure import Times, peak_of, timed
from convnn.bench.task import Case, Function, cast, draw, placed, tensors

EXCESSIVE = 10.0
"""The speed-up above which one should look twice, as published."""


@dataclass(frozen=True)
class Timing:
    """Times of a candidate and of the definition on the same inputs.

    Attributes:
        baseline: times of the definition, in milliseconds.
        runtime: times of the candidate.
        speedup: the median over the turns of the definition's time over the candidate's.
        megabytes: memory that a call of the candidate adds at its peak; NaN where the system does not tell.
    """

    baseline: Times
    runtime: Times
    speedup: float
    megabytes: float

    @property
    def is_excessive(self) -> bool:
        """Whether the speed-up is above ten, where a flaw in the task is likelier than a miracle."""
        return self.speedup > EXCESSIVE


def time_candidate(judge: Judge, function: Function, rounds: int, seed: int) -> Timing:
    """Time a candidate that is right; each result is checked as in the judgement.

    Both get the same numbers, new in every call but for the first, in memory that stays the same, so that a result kept
    by address, or by the first number, is wrong. The order of the two changes with every turn.

    Raises:
        RefusalError: a result is wrong.
    """
    task = judge.task
    case = Case(task.settings[-1], task.values[0], task.dtypes[0], task.layouts[0])
    seeds = trial_seeds(rounds + 1, seed)
    mine, theirs = (placed(draw(task, case, seeds[0]), case.layout, judge.device) for _ in range(2))
    constants = [one.flatten()[:1].clone() if isinstance(one, Tensor) else None for one in mine]
    times: dict[str, list[float]] = {"candidate": [], "definition": []}
    for turn, one_seed in enumerate(seeds):
        drawn = tuple(map(_keep_first, draw(task, case, one_seed), constants))
        for place in (mine, theirs):
            refill(place, drawn)
        actions = {"candidate": partial(function, *mine), "definition": partial(task.reference, *theirs)}
        results: dict[str, Any] = {}
        for name in sorted(actions, reverse=bool(turn % 2)):
            results[name], elapsed = _timed(judge, actions[name], name)
            if turn:  # the first one warms up
                times[name].append(elapsed)
        wanted = _wanted(judge, drawn, tensors(results["definition"]))
        judge.inspect(tensors(results["candidate"]), mine, wanted)
    speedups = [b / a for a, b in zip(times["candidate"], times["definition"], strict=True)]
    return Timing(Times.of(times["definition"]), Times.of(times["candidate"]), median(speedups), _peak(function, mine))


def _timed(judge: Judge, action: partial[Any], name: str) -> tuple[Any, float]:
    def call() -> Any:
        result = action()
        if judge.device != "cpu":
            _SYNCHRONIZE()  # all streams of the device, also those that the candidate opened
        return result

    with torch.no_grad():
        return timed(call) if name == "definition" else judge.guarded(lambda: timed(call), "calling it")


_SYNCHRONIZE = torch.cuda.synchronize  # bound before any candidate is loaded


def _wanted(judge: Judge, arguments: tuple[Any, ...], rounded: Sequence[Tensor]) -> Draw:
    with torch.no_grad():
        exact = tensors(judge.task.reference(*placed(cast(arguments, torch.float64), "dense", judge.device)))
    results = [expected(*pair) for pair in zip(exact, rounded, strict=True)]
    return Draw(arguments, results, judge.prepared[0][1].shares, [], [])


def _keep_first(one: Any, constant: Tensor | None) -> Any:
    if constant is not None and one.is_floating_point() and one.numel():
        one = one.clone(memory_format=torch.contiguous_format)
        one.view(-1)[:1] = constant.cpu()
    return one


def _peak(function: Function, arguments: Sequence[Any]) -> float:
    try:
        with torch.no_grad():
            return peak_of(partial(function, *arguments))
    except OSError:
        return float("nan")
