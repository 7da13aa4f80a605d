"""Kernels as people write them: five with a fault each, and three without."""

import pytest

from convnn.bench import Candidate, Limits, run
from convnn.bench.tasks import find_task
from fences import ROOT
from pairwise import one_in

FOLDER = ROOT / "tests" / "bench"
VERDICTS = [
    ("bad_overflow", "values", "large values"),
    ("good_perceptron", "", ""),
    ("bad_tail", "values", "rows=5"),
    ("bad_strides", "values", "transposed"),
    ("bad_backward", "gradient", "gradient of input 1"),
    ("bad_buffer", "alias", "a later call changes an earlier result"),
    ("good_two_pass", "", ""),
    ("good_triton", "", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason", "detail"), one_in(5, VERDICTS))
def test_foreign_kernels(name: str, reason: str, detail: str) -> None:
    definition = "perceptron" if name == "good_perceptron" else "softmax"
    task = find_task(str(FOLDER / "definitions" / f"{definition}.py"))
    limits = Limits(megabytes=2048)
    verdict = run(task, Candidate.of_file(FOLDER / "foreign" / f"{name}.py"), rounds=0, limits=limits).verdict
    assert verdict.reason == reason, verdict
    assert verdict.correct == (not reason)
    assert detail in verdict.detail


def test_there_are_five_bad_ones_and_at_least_two_good_ones() -> None:
    names = {path.stem for path in (FOLDER / "foreign").glob("*.py")}
    assert names == {name for name, *_ in VERDICTS}
    assert sum(name.startswith("bad") for name in names) == 5
