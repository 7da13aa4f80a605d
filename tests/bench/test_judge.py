"""Kernels that cheat, each in a file of its own, and honest ones: each gets its verdict, from a process of its own."""

import pytest

from convnn.bench import Candidate, Limits, Verdict, looks_right, run
from convnn.bench.judge import REASONS
from convnn.bench.tasks import find_task
from fences import ROOT
from pairwise import one_in

FOLDER = ROOT / "tests" / "bench"
RIGHT = ""
WORDS = {
    "linear_honest": RIGHT,
    "linear_memo_first_number": "values",
    "linear_thread": "thread",
    "linear_crash": "exception",
    "backward_honest": RIGHT,
    "backward_swapped_if_square": "gradient",
    "linear_patched_clock": "patched",
    "relu_inplace": "input_changed",
    "row_sum_broadcast": "shape",
    "linear_same_buffer": "alias",
    "linear_lazy": "type",
    "linear_wrong_dtype": "dtype",
    "linear_reordered_sum": RIGHT,
    "linear_half_inside": "values",
    "linear_zeros": "values",
    "linear_mean_constant": "values",
    "linear_stale_output": "values",
    "linear_memo_first": "values",
    "linear_memo_pointer": "values",
    "linear_nan_one": "values",
    "linear_noise_1e_3": "values",
    "linear_noise_1e_6": "values nondeterministic",
    "linear_shape_special": "values",
    "linear_bias_only": "values",
    "linear_mutate_inputs": "input_changed",
    "linear_wrong_shape": "shape",
    "linear_patched_comparison": "patched",
    "linear_memory": "exception",
    "linear_endless": "exception",
    "linear_exit": "exception",
    "relu_honest": RIGHT,
    "relu_identity": "alias",
    "relu_mutate_inputs": "input_changed",
    "relu_clipped": "values",
    "row_sum_honest": RIGHT,
    "backward_zero_input": "gradient",
    "backward_ones_upstream": "gradient",
    "backward_no_bias": "gradient",
    "backward_mean_bias": "gradient",
    "backward_half_weight": "gradient",
    "backward_scalar_bias": "gradient",
}
"""The words with which each is refused; the first fourth of the first ones has every kind of check."""


def candidate(name: str) -> Candidate:
    return Candidate.of_file(FOLDER / "planted" / f"{name}.py")


def task_of(name: str):
    task = {"row": "row_sum", "relu": "relu"}.get(name.partition("_")[0], "linear")
    return find_task(str(FOLDER / "definitions" / f"{task}.py"))


def test_every_planted_kernel_has_a_verdict() -> None:
    assert {path.stem for path in (FOLDER / "planted").glob("*.py")} == set(WORDS)
    assert {word for words in WORDS.values() for word in words.split()} == set(REASONS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), one_in(4, WORDS.items()))
def test_planted_kernels(name: str, words: str) -> None:
    seconds = 5.0 if name == "linear_endless" else 120.0
    result = run(task_of(name), candidate(name), rounds=2, seed=3, limits=Limits(seconds=seconds, megabytes=2048))
    verdict = result.verdict
    assert verdict.correct == (words == RIGHT), verdict
    assert verdict.reason in (words.split() or [RIGHT]), verdict
    assert (result.timing is not None) == verdict.correct
    if verdict.correct:
        assert verdict.num_cases == {"relu": 18, "row": 18}.get(name.partition("_")[0], 24)
        assert 0 <= verdict.max_difference < 1


@pytest.mark.slow
def test_a_first_look_finds_most() -> None:
    assert looks_right(task_of("relu"), candidate("relu_honest"))
    assert not looks_right(task_of("relu"), candidate("relu_clipped"))
    assert not looks_right(task_of("linear"), candidate("linear_thread"))  # by its source alone


def test_a_verdict_is_wrong_unless_something_agreed() -> None:
    assert not Verdict(False).correct
