"""KernelBench: fast_p tells kernels that are right from kernels that are fast."""

from claims._experiment import Outcome
from convnn.bench import Candidate, Limits, Result, fast_p, geometric_mean_speedup, run
from convnn.bench.scores import THRESHOLDS
from convnn.bench.tasks import TASKS
from convnn.ops import backend_report

SYSTEM = "KernelBench: tasks and scores"
CLAIM = "The share of kernels that are right and more than p times as fast tells right from fast; a higher p is harder."
EXPERIMENT = (
    f"The {len(TASKS)} operators of this library as tasks, each with a definition in plain PyTorch that is neither"
    " backend, on the CPU with one thread; the tensors are small, of up to 65 positions and 33 channels, so that the"
    " overhead of a call counts. Kernels: the plain backend, which defines the operators, and the compiled core."
    " Medians of 20 turns."
)
SEEDS = (0,)
LIMITS = Limits(seconds=300)


def measure(seeds: list[int], quick: bool) -> Outcome:
    tasks = list(TASKS.values())[:1] if quick else list(TASKS.values())
    backends = [name for name in ("reference", "cpu") if not backend_report()[name]]
    found = {
        name: [
            run(task, Candidate.of_backend(name), seed=seed, rounds=2 if quick else 20, limits=LIMITS)
            for seed in seeds
            for task in tasks
        ]
        for name in backends
    }
    shares = {name: [share(results, p) for p in THRESHOLDS] for name, results in found.items()}
    rows = [
        [name, f"{right(found[name]):.2f}", *(f"{one:.2f}" for one in shares[name]), f"{mean(found[name]):.2f}"]
        for name in backends
    ]
    wrong = [f"{one.candidate} at {one.task}" for each in found.values() for one in each if not one.verdict.correct]
    return Outcome(
        [["backend", "right", *(f"fast_{p:g}" for p in THRESHOLDS), "mean speed-up"], *rows],
        {
            "every backend is right at every task": not wrong,
            "fast_0 is the share that is right": all(shares[name][0] == right(found[name]) for name in backends),
            "fast_p never increases with p": all(one == sorted(one, reverse=True) for one in shares.values()),
            "a backend that is right everywhere is faster than the definition at less than half of the tasks": any(
                right(found[name]) == 1 and share(found[name], 1.0) < 0.5 for name in backends
            ),
        },
    )


def right(results: list[Result]) -> float:
    return sum(one.verdict.correct for one in results) / len(results)


def times(results: list[Result]) -> tuple[list[bool], list[float], list[float]]:
    """Return who is right, and the medians of the definition and of the kernel, -1 where it was not timed."""
    baseline = [one.timing.baseline.median if one.timing else -1.0 for one in results]
    runtime = [one.timing.runtime.median if one.timing else -1.0 for one in results]
    return [one.verdict.correct for one in results], baseline, runtime


def share(results: list[Result], p: float) -> float:
    return fast_p(*times(results), p)


def mean(results: list[Result]) -> float:
    return geometric_mean_speedup(*times(results))
