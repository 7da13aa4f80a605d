"""Our operators on every backend that runs here, judged as foreign kernels are."""

import pytest

from convnn.bench import Candidate, Limits, run
from convnn.bench.judge import Judge
from convnn.bench.tasks import TASKS, find_task
from convnn.errors import InputError
from convnn.ops import backend_report
from pairwise import only

USABLE = [name for name, reasons in backend_report().items() if not reasons]
QUICK = ("select.one_of_each", "weigh.similarity.euclidean", "aggregate.weighted_sum", "ragged.products")


@pytest.mark.slow
@pytest.mark.parametrize("name", only(QUICK.__contains__, TASKS))
def test_backends_compute_what_the_definition_says(name: str) -> None:
    judge = Judge(TASKS[name], seed=11)  # of our own kernels, this process may run
    for backend in USABLE:
        verdict, _ = judge.verdict(lambda backend=backend: Candidate.of_backend(backend).load(TASKS[name]))
        assert verdict.correct, (backend, verdict)
        assert not verdict.unsupported


@pytest.mark.long
@pytest.mark.parametrize("name", TASKS)
def test_triton_in_its_interpreter(name: str) -> None:
    result = run(TASKS[name], Candidate.of_backend("triton"), rounds=0, limits=Limits(seconds=600))
    assert result.verdict.correct or result.is_unsupported, result.verdict
    if name.startswith(("select", "weigh", "aggregate", "blocks")):
        assert result.verdict.correct


def test_every_task_is_found_by_its_name() -> None:
    assert all(find_task(name) is task for name, task in TASKS.items())
    with pytest.raises(InputError, match=r"did you mean 'select\.nearest'"):
        find_task("select.nearst")
    with pytest.raises(InputError, match="is no file"):
        find_task("nowhere.py")
