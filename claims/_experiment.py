"""The common form of the claims: their results, verdicts and saved files."""

import importlib
import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from convnn.errors import check_choice
from convnn.files import make_folder, write_atomically

ROOT = Path(__file__).parents[1]
VERDICTS = ("shown", "in part", "not shown")


@dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment.

    Attributes:
        figures: a table of printed cells, with its head first.
        checks: sentences that must hold if the claim does, and whether they held.
    """

    figures: list[list[str]]
    checks: dict[str, bool]

    @property
    def verdict(self) -> str:
        """ "shown" if all checks held, "in part" if some did."""
        held = sum(self.checks.values())
        return VERDICTS[0 if held == len(self.checks) else 1 if held else 2]


def names() -> list[str]:
    """Return the names of all claims: the files of this folder that do not begin with an underscore."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def read(name: str) -> ModuleType:
    """Import a claim, a module with SYSTEM, CLAIM, EXPERIMENT, SEEDS and `measure(seeds, quick)`.

    Raises:
        InputError: no claim has that name.
    """
    check_choice("NAME", name, names())
    return importlib.import_module(f"claims.{name}")


def run(name: str, *, quick: bool = False) -> dict[str, Any]:
    """Measure a claim and return everything to save; `quick` is one seed and a few steps, to show that it runs."""
    claim = read(name)
    seeds = list(claim.SEEDS[:1] if quick else claim.SEEDS)
    start = time.process_time()
    outcome: Outcome = claim.measure(seeds, quick)
    checks = {sentence: bool(held) for sentence, held in outcome.checks.items()}  # NumPy's are no JSON
    return {
        "name": name,
        "system": claim.SYSTEM,
        "claim": claim.CLAIM,
        "experiment": claim.EXPERIMENT,
        **asdict(outcome),
        "checks": checks,
        "verdict": outcome.verdict,
        "seeds": seeds,
        "commit": commit(),
        "device": "cpu, 1 thread",
        "torch": torch.__version__.partition("+")[0],
        "seconds": round(time.process_time() - start),
    }


def save(result: dict[str, Any], folder: Path) -> None:
    """Write a result to FOLDER/NAME.json, for the guide."""
    write_atomically(make_folder(folder, "--out") / f"{result['name']}.json", json.dumps(result, indent=1) + "\n")


def commit() -> str:
    """Return the commit of the code, with "+" if the code has changed since."""
    head = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return head + ("+" if _git("status", "--porcelain", "--", "src", "claims") else "")


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def spread(scores: Sequence[float], form: str = ".1f") -> str:
    """Return mean and standard deviation over the seeds, as text."""
    deviation = f" ± {statistics.stdev(scores):{form}}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):{form}}{deviation}"


def is_above(scores: Sequence[float], baselines: Sequence[float]) -> bool:
    """Return whether the mean difference, seed by seed, is more than two standard errors."""
    differences = [score - baseline for score, baseline in zip(scores, baselines, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return statistics.mean(differences) > 2 * error
