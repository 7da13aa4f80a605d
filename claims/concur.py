"""ConCuR: concise reasoning goes with kernels that are right and fast, and its length tells how hard a task is."""

import numpy as np

from claims._experiment import Outcome, spread
from convnn.bench.traces import curate, selection_statistics, trace_statistics

SYSTEM = "ConCuR: curation of reasoning traces"
CLAIM = "Concise reasoning goes with kernels that are right and fast; the mean length of a task tells how hard it is."
EXPERIMENT = (
    "No language model is run here, so this tests the statistics, not the claim: 60 tasks of five planted traces, whose"
    " chance to be right falls with their length and with a hidden difficulty of the task, which also makes all its"
    " traces longer, and whose kernels are slower the longer they are; and as many traces without any such effect."
    " What is measured on all traces, and how long those are that are kept: right, faster than the definition, the"
    " shortest of each task."
)
SEEDS = tuple(range(10))


def measure(seeds: list[int], quick: bool) -> Outcome:
    names = ("planted", "random")
    found = {name: [measured(traces(seed, float(name == "planted"))) for seed in seeds] for name in names}
    measures = list(found["planted"][0])
    rows = [[one, *(spread([facts[one] for facts in found[name]], ".2f") for name in names)] for one in measures]
    mean = {name: {one: np.mean([facts[one] for facts in found[name]]) for one in measures} for name in names}
    planted, random = mean["planted"], mean["random"]
    return Outcome(
        [["measure", *names], *rows],
        {
            "the shortest fifth of planted traces is more often right than the longest, by 0.1": (
                planted["right, shortest"] > planted["right, longest"] + 0.1
            ),
            "in more than 0.6 of their tasks the right traces are shorter": planted["right are shorter"] > 0.6,
            "their mean length falls with accuracy: rank correlation below -0.4": planted["length and accuracy"] < -0.4,
            "those kept are shorter than all": planted["length kept"] < 0.8 * planted["length"],
            "random traces show nothing: 0.4 to 0.6 of the tasks, and correlation within 0.15": (
                0.4 < random["right are shorter"] < 0.6 and abs(random["length and accuracy"]) < 0.15
            ),
        },
    )


def measured(table: dict[str, np.ndarray]) -> dict[str, float]:
    facts, kept = trace_statistics(table), selection_statistics(table, curate(table))
    return {
        "right, shortest": float(facts["accuracy_by_length"][0]),
        "right, longest": float(facts["accuracy_by_length"][-1]),
        "faster, shortest": float(facts["fast_1_by_length"][0]),
        "faster, longest": float(facts["fast_1_by_length"][-1]),
        "right are shorter": facts["shorter_fraction"],
        "length and accuracy": facts["difficulty_spearman"],
        "length": float(table["length"].mean()),
        "length kept": kept["selected_mean_length"],
        "speed-up kept": kept["selected_geomean_speedup"],
    }


def traces(seed: int, effect: float) -> dict[str, np.ndarray]:
    """Make 60 tasks of five traces; with effect 0 nothing depends on the length."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(60), 5)
    difficulty, inside = rng.normal(size=60)[task], 0.4 * rng.normal(size=300)
    chance = 1 / (1 + np.exp(effect * (difficulty + 2 * inside) - 0.5))
    return {
        "task": task,
        "type": task % 3,
        "length": np.exp(7 + 0.4 * effect * difficulty + inside).round().astype(int),
        "correct": (rng.random(300) < chance).astype(int),
        "reference_time": np.ones(300),
        "kernel_time": np.exp(0.3 * rng.normal(size=300) + 0.4 * effect * inside - 0.1),
    }
