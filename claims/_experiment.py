"""What every claim has in common: what it returns, when it counts as seen, and what is kept of it."""

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
class Seen:
    """What an experiment measured.

    Attributes:
        figures: a table, its head first, of cells as they are printed.
        checks: what must hold if the claim does, as sentences, and whether it did.
    """

    figures: list[list[str]]
    checks: dict[str, bool]

    @property
    def verdict(self) -> str:
        """Shown if all held, in part if some did."""
        held = sum(self.checks.values())
        return VERDICTS[0 if held == len(self.checks) else 1 if held else 2]


def names() -> list[str]:
    """All claims: files of this folder, but for those that begin with an underscore."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def read(name: str) -> ModuleType:
    """A claim: SYSTEM it is about, CLAIM, EXPERIMENT, SEEDS, and `measure(seeds, quick)`.

    Raises:
        InputError: there is none of that name.
    """
    check_choice("NAME", name, names())
    return importlib.import_module(f"claims.{name}")


def run(name: str, *, quick: bool = False) -> dict[str, Any]:
    """Measure a claim: all that is kept of it; quick is one seed and a few steps, which show that it runs."""
    claim = read(name)
    seeds = list(claim.SEEDS[:1] if quick else claim.SEEDS)
    start = time.process_time()
    seen: Seen = claim.measure(seeds, quick)
    return {
        "name": name,
        "system": claim.SYSTEM,
        "claim": claim.CLAIM,
        "experiment": claim.EXPERIMENT,
        **asdict(seen),
        "verdict": seen.verdict,
        "seeds": seeds,
        "commit": commit(),
        "device": "cpu, 1 thread",
        "torch": torch.__version__.partition("+")[0],
        "seconds": round(time.process_time() - start),
    }


def keep(result: dict[str, Any], folder: Path) -> None:
    """Write what was measured to FOLDER/NAME.json, for the guide."""
    write_atomically(make_folder(folder, "--out") / f"{result['name']}.json", json.dumps(result, indent=1) + "\n")


def commit() -> str:
    """Of the code; with "+" where it was changed since."""
    head = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return head + ("+" if _git("status", "--porcelain", "--", "src", "claims") else "")


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def spread(scores: Sequence[float], form: str = ".1f") -> str:
    """Mean and standard deviation over the seeds."""
    deviation = f" ± {statistics.stdev(scores):{form}}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):{form}}{deviation}"


def is_above(scores: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the mean difference, seed by seed, is more than two standard errors."""
    apart = [one - other for one, other in zip(scores, others, strict=True)]
    error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
    return statistics.mean(apart) > 2 * error
