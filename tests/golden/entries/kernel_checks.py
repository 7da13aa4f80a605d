"""How kernels are judged: KernelBench (arXiv 2502.10517) and robust-kbench (arXiv 2509.14279)."""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor

from convnn.bench import Times, filters, scores, static_checks
from convnn.bench.agreement import difference, is_close, trial_seeds
from golden.case import Case
from golden.entry import Entry


def _scores(case: Case) -> Mapping[str, Tensor]:
    tensors = case.tensors
    correct, baseline, runtime = (tensors[name].tolist() for name in ("is_correct", "baseline", "runtime"))
    found = {
        "fast_p": [scores.fast_p(correct, baseline, runtime, p) for p in tensors["p"].tolist()],
        "pass_at_k": [scores.pass_at_k(*row) for row in tensors["pass_at_k.nck"].tolist()],
    }
    if not scores.not_timed(correct, runtime):  # with which the published mean is NaN
        found["geomean_correct"] = scores.geometric_mean_speedup(correct, baseline, runtime)
        found["geomean_correct_faster"] = scores.geometric_mean_speedup(correct, baseline, runtime, faster_only=True)
    if "times" in tensors:
        times = Times.of(tensors["times"].tolist()).rounded()
        found["time_stats"] = [getattr(times, name) for name in case.config["time_stats"]]
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def _correctness(case: Case) -> Mapping[str, Tensor]:
    """Return the verdicts; kernels whose shape or type differs have no tensors, and are wrong."""
    config, tensors = case.config, case.tensors
    found = {"trial_seeds": torch.tensor(trial_seeds(config["trials"], config["seed"]))}
    verdicts = []
    for name in config["names"]:
        if f"candidate.{name}" not in tensors:
            verdicts.append(0)
            continue
        pairs = list(zip(tensors[f"reference.{name}"], tensors[f"candidate.{name}"], strict=True))
        verdicts.append(int(all(is_close(*pair, config["atol"]) for pair in pairs)))
        for i, of in enumerate(("max_difference", "avg_difference")):
            found[f"{of}.{name}"] = torch.tensor([difference(*pair)[i] for pair in pairs], dtype=torch.float64)
    return found | {"verdict": torch.tensor(verdicts)}


def _forward(case: Case) -> Mapping[str, Tensor]:
    """Return the verdicts of each setting; a check that raised counts -1, its difference NaN."""
    config, tensors = case.config, case.tensors

    def row(name: str, setting: int) -> tuple[int, int, float]:
        kinds = [f"{kind}.{name}.{setting}" for kind in ("reference", "first", "second")]
        if any(kind not in tensors for kind in kinds):
            return 0, -1, nan
        trials = [
            [(reference, first), (reference, second)]
            for reference, first, second in zip(*(tensors[kind] for kind in kinds), strict=True)
        ]
        return _tally(trials, config["atol"], "candidate")

    return _table(config, row)


def _backward(case: Case) -> Mapping[str, Tensor]:
    config, tensors = case.config, case.tensors

    def row(name: str, setting: int) -> tuple[int, int, float]:
        if config["outcome"][config["names"].index(name)][setting] != "compared":
            return 0, -1, nan
        end = f".{name}.{setting}"
        gradients = [
            key.removeprefix("reference.") for key in tensors if key.startswith("reference.") and key.endswith(end)
        ]
        pairs = [zip(tensors[f"reference.{one}"], tensors[f"candidate.{one}"], strict=True) for one in gradients]
        return _tally(list(zip(*pairs, strict=True)), config["atol"], "reference")

    found = dict(_table(config, row))
    return {name: found[name] for name in ("verdict", "max_diff")}


def _tally(trials: list, tolerance: float, scaled_by: str) -> tuple[int, int, float]:
    """Return verdict, trials passed and largest difference of those that failed, in which a NaN counts 0."""
    passed = [all(is_close(*pair, tolerance, scaled_by=scaled_by) for pair in trial) for trial in trials]
    failing = [
        max(0.0, difference(*pair).largest)
        for trial, ok in zip(trials, passed, strict=True)
        if not ok
        for pair in trial
    ]
    return int(all(passed)), sum(passed), max([0.0, *failing])


def _table(config: Mapping, row) -> Mapping[str, Tensor]:
    settings = range(len(config["settings"]))
    rows = torch.tensor([[row(name, setting) for setting in settings] for name in config["names"]], dtype=torch.float64)
    verdict, num_correct, max_diff = rows.unbind(-1)
    return {"verdict": verdict.long(), "num_correct": num_correct.long(), "max_diff": max_diff}


def _filters(case: Case) -> Mapping[str, Tensor]:
    rows = []
    for task in case.config["tasks"]:
        outputs = [case.tensors[f"{kind}.{task}"] for kind in ("outputs", "outputs_one_model")]
        names = [name.partition(" ")[0] for name in case.config["filters"]]
        flags = filters.task_flags(*outputs, threshold=case.config["threshold"], names=names)
        rows.append([int(flags[name]) for name in names])
    return {"flags": torch.tensor(rows)}


def _static(case: Case) -> Mapping[str, Tensor]:
    config = case.config
    reports = [
        static_checks(source, backend=config["backend"], precision=config["precision"])
        for source in config["snippets"].values()
    ]
    return {
        "hit": torch.tensor([[int(report.hits[name]) for name in config["checks"]] for report in reports]),
        "errors": torch.tensor([len(report.errors) for report in reports]),
        "warnings": torch.tensor([len(report.warnings) for report in reports]),
        "valid": torch.tensor([int(report.is_valid) for report in reports]),
    }


ENTRIES = {
    "scores": Entry(lambda case: lambda: _scores(case), ()),
    "correctness": Entry(lambda case: lambda: _correctness(case), ()),
    "static_checks": Entry(lambda case: lambda: _static(case), ()),
    "forward_correctness": Entry(lambda case: lambda: _forward(case), ()),
    "backward_correctness": Entry(lambda case: lambda: _backward(case), ()),
    "task_filters": Entry(lambda case: lambda: _filters(case), ()),
}
