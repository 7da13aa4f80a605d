"""Filters of tasks that any kernel passes."""

import pytest
import torch

from convnn.bench import filters, flags_of, read_task
from convnn.errors import InputError
from fences import ROOT

NORMAL = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))


def test_what_depends_on_its_inputs_stays() -> None:
    assert not any(filters.task_flags(NORMAL).values())


def test_each_filter_finds_its_own_fault() -> None:
    spread = NORMAL.sum(2, keepdim=True).expand_as(NORMAL)
    assert filters.task_flags(spread) == dict.fromkeys(filters.DEFAULTS, False) | {"output_axes": True}
    constant = NORMAL[:1].expand_as(NORMAL)
    assert [name for name, hit in filters.task_flags(constant).items() if hit] == [
        "output_std",
        "output_axes",
        "input_impact",
    ]
    assert filters.task_flags(1e-3 * NORMAL)["output_range"]
    assert filters.task_flags(NORMAL, constant)["input_impact"]
    assert filters.task_flags(NORMAL, constant, names=["init_impact"]) == {"init_impact": False}


def test_an_axis_of_length_one_has_no_spread() -> None:
    assert not filters.output_axes(NORMAL[:, :, :1])


@pytest.mark.parametrize(("name", "hits"), [("linear", []), ("relu", []), ("row_sum", ["output_axes"])])
def test_degenerate_tasks_are_found(name: str, hits: list[str]) -> None:
    task = read_task(str(ROOT / "tests" / "bench" / "definitions" / f"{name}.py"))
    assert [flag for flag, hit in flags_of(task).items() if hit] == hits


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filters.output_std(NORMAL[:1]), "outputs of 1 seeds"),
        (lambda: filters.output_range(NORMAL, 0.0), "threshold=0.0"),
        (lambda: filters.task_flags(NORMAL, names=["output_rang"]), "did you mean 'output_range'"),
    ],
)
def test_what_no_filter_can_judge_is_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
