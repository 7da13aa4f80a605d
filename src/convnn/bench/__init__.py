"""A harness for kernels: whether they compute what a definition says, forward and backward, and how fast.

A candidate runs in a process of its own, with limits of time and memory, on inputs that it has not seen. That protects
from kernels that are wrong and finds those that cheat in the ways known; it is no sandbox against malice.
"""

from convnn.bench import filters, scores
from convnn.bench.agreement import trial_seeds
from convnn.bench.evolve import Evolution, Kernel, Prediction, evolve, prediction
from convnn.bench.files import Candidate, read_task
from convnn.bench.judge import REASONS, Verdict
from convnn.bench.measure import Times
from convnn.bench.process import Limits
from convnn.bench.run import Result, flags_of, looks_right, run, time, verify
from convnn.bench.scores import fast_p, geometric_mean_speedup, pass_at_k
from convnn.bench.static import StaticReport, static_checks
from convnn.bench.task import Task
from convnn.bench.timing import Timing

__all__ = [
    "REASONS",
    "Candidate",
    "Evolution",
    "Kernel",
    "Limits",
    "Prediction",
    "Result",
    "StaticReport",
    "Task",
    "Times",
    "Timing",
    "Verdict",
    "evolve",
    "fast_p",
    "filters",
    "flags_of",
    "geometric_mean_speedup",
    "looks_right",
    "pass_at_k",
    "prediction",
    "read_task",
    "run",
    "scores",
    "static_checks",
    "time",
    "trial_seeds",
    "verify",
]
