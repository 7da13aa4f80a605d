"""The folder of a run of the harness: a file for each candidate at each task, so that a killed run goes on."""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from math import isnan, nan
from pathlib import Path
from typing import Any

from convnn.bench.run import Result
from convnn.errors import InputError
from convnn.files import make_folder, write_atomically

FACTS, RESULTS = "run.json", "results"


class Folder:
    """Results that are kept as they come.

    Args:
        path: the folder, which is made if it is missing.
        facts: JSON values of all that decides the results.
        resume: whether results that are there are taken over; the facts must be the same then.

    Raises:
        InputError: what is kept began with other facts, or cannot be read.
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
        self.path = make_folder(path, "--out")
        make_folder(path / RESULTS, "--out")
        if not resume:
            for old in (path / RESULTS).glob("*.json"):
                old.unlink()
        elif (path / FACTS).exists():
            before = _read(path / FACTS)
            for name, value in facts.items():
                if before.get(name) != value:
                    raise InputError(
                        f"'{path / FACTS}' began with another {name}, {before.get(name)}, not {value}; resume with the"
                        " same, or pass --overwrite to begin anew"
                    )
        write_atomically(path / FACTS, json.dumps(facts, indent=1) + "\n")

    def file_of(self, task: str, candidate: str) -> Path:
        """Return the file of a candidate at a task."""
        words = re.sub(r"[^\w.-]+", "-", f"{task}--{candidate}")
        return self.path / RESULTS / f"{words}-{sha256(f'{task}|{candidate}'.encode()).hexdigest()[:6]}.json"

    def known(self, task: str, candidate: str, digest: str) -> Result | None:
        """Return the result that is kept, if the candidate has not changed since."""
        path = self.file_of(task, candidate)
        if not path.exists():
            return None
        result = Result.from_json(_numbers(_read(path)))
        return result if result.digest == digest else None

    def keep(self, result: Result) -> None:
        """Write a result, whole or not at all."""
        path = self.file_of(result.task, result.candidate)
        write_atomically(path, json.dumps(without_nan(result.as_json()), indent=1) + "\n")


def kept_facts(path: Path) -> dict[str, Any]:
    """Return the facts with which the run in a folder began; none if there is none.

    Raises:
        InputError: the file cannot be read.
    """
    return _read(path / FACTS) if (path / FACTS).exists() else {}


def without_nan(value: Any) -> Any:
    """Return JSON values with null for NaN."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """Return a result with NaN for null, where a number stands."""
    for part, names in (("verdict", ("max_difference",)), ("timing", ("megabytes",))):
        for name in names:
            if isinstance(found.get(part), dict) and found[part].get(name, 0) is None:
                found[part][name] = nan
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"'{path}' holds no result")
    return found
