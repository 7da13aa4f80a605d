"""Static checks of a candidate's source."""

import pytest

from convnn.bench import static_checks
from convnn.bench.static import CHECKS
from convnn.errors import InputError
from fences import ROOT

PLANTED = ROOT / "tests" / "bench" / "planted"


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("linear_patched_clock", "timing_event_patch"),
        ("linear_thread", "thread_injection"),
        ("linear_lazy", "lazy_eval"),
        ("linear_half_inside", "precision_downgrade"),
    ],
)
def test_planted_kernels_are_found(name: str, check: str) -> None:
    assert static_checks((PLANTED / f"{name}.py").read_text()).hits[check]
    assert not any(static_checks((PLANTED / "linear_honest.py").read_text()).hits.values())


def test_every_check_is_told_apart() -> None:
    report = static_checks("try:\n    x = torch.relu(y)  # time.time = 0\n", backend="triton")
    assert report.errors == ["code_bypass", "triton_impl"]
    assert report.warnings == ["torch_computation_ops"]
    assert not report.is_valid
    assert set(report.hits) == set(CHECKS)


def test_half_types_are_no_fault_where_they_are_asked_for() -> None:
    assert static_checks("x.half()").warnings == ["precision_downgrade"]
    assert static_checks("x.half()", precision="fp16").is_valid
    assert not static_checks("x.half()", precision="bf16").warnings


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="backend='trition'"):
        static_checks("", backend="trition")
