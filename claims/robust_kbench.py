"""robust-kbench: kernels that cheat are refused, honest ones pass, and filters find tasks that any kernel passes."""

import torch

from claims._experiment import ROOT, Outcome
from convnn.bench import Candidate, Limits, filters, run
from convnn.bench.tasks import find_task

SYSTEM = "robust-kbench: kernels that cheat"
CLAIM = "Varied inputs, forward and backward, refuse kernels that cheat and pass honest ones; filters find bad tasks."
EXPERIMENT = (
    "The planted kernels of tests/bench/planted for y = x W^T + b, ReLU and the sum of rows, each judged and timed on"
    " inputs of two seeds: wrong forward, wrong backward, and ones that fool a clock or judge, beside honest ones. The"
    " filters on outputs of five seeds of tasks: a product, ReLU, the sum of a row spread over it, the mean of a"
    " normalised row."
)
SEEDS = (0, 1)
FOLDER = ROOT / "tests" / "bench"
HONEST = ("honest", "reordered_sum")
TIMED = ("memo_pointer", "memo_first_number", "thread", "lazy", "patched_clock", "patched_comparison")
SKIPPED = ("endless",)  # which is killed after any time


def measure(seeds: list[int], quick: bool) -> Outcome:
    paths = sorted(path for path in (FOLDER / "planted").glob("*.py") if kind_of(path.stem))
    paths = paths[:2] if quick else paths
    kinds = dict.fromkeys(kind_of(path.stem) for path in paths)
    passed: dict[str, list[bool]] = {kind: [] for kind in kinds}
    for path in paths:
        for seed in seeds:
            passed[kind_of(path.stem)].append(accepts(path, seed))
    flags = {name: [flag for flag, hit in filters.task_flags(out).items() if hit] for name, out in tasks().items()}
    rows = [[kind, f"{sum(one)} of {len(one)} pass"] for kind, one in passed.items()]
    rows += [[f"task: {name}", ", ".join(found) or "no filter"] for name, found in flags.items()]
    cheats = [one for kind, found in passed.items() if kind != "honest" for one in found]
    return Outcome(
        [["kernels, tasks", "passing, thrown out by"], *rows],
        {
            "no kernel that cheats passes": not any(cheats),
            "every honest kernel passes": all(passed.get("honest", [])),
            "filters throw out the spread sum and the mean of a normalised row": all(
                flags[name] for name in ("spread sum of a row", "mean of a normalised row")
            ),
            "they leave the product and ReLU": not flags["product"] and not flags["ReLU"],
        },
    )


def kind_of(name: str) -> str:
    """Return the kind of a planted kernel; an empty string for those left out."""
    task, _, trick = name.removeprefix("row_").partition("_")
    if trick in SKIPPED:
        return ""
    if trick in HONEST:
        return "honest"
    return "wrong backward" if task == "backward" else "fooling a clock or judge" if trick in TIMED else "wrong forward"


def accepts(path, seed: int) -> bool:
    task = {"row": "row_sum", "relu": "relu"}.get(path.stem.partition("_")[0], "linear")
    definition = find_task(str(FOLDER / "definitions" / f"{task}.py"))
    return run(definition, Candidate.of_file(path), seed=seed, rounds=3, limits=Limits(seconds=300)).verdict.correct


def tasks() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 4, 6, generator=generator), torch.randn(5, 6, 3, generator=generator)
    return {
        "product": x @ weight,
        "ReLU": x.relu(),
        "spread sum of a row": x.sum(2, keepdim=True).expand_as(x),
        "mean of a normalised row": torch.nn.functional.layer_norm(x, (6,)).mean(2),
    }
