"""Files of tasks and candidates: what they must have, and the numbers they get."""

from pathlib import Path

import pytest
import torch

from convnn.bench import Candidate, Task, read_task
from convnn.bench.judge import Judge
from convnn.bench.task import Case, cases_of, draw, placed
from convnn.errors import InputError
from fences import ROOT

FOLDER = ROOT / "tests" / "bench"


def written(folder: Path, text: str) -> str:
    path = folder / "some.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Model: pass", "must assign a Task to TASK, or define get_inputs, get_init_inputs too"),
        ("1 +", "cannot be run: SyntaxError"),
        ("raise ValueError('no')", "cannot be run: ValueError: no"),
    ],
)
def test_a_file_that_is_no_task_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_task(written(tmp_path, text))


def test_a_candidate_must_have_what_the_task_asks_for(tmp_path: Path) -> None:
    empty = Candidate.of_file(written(tmp_path, "x = 1\n"))
    with pytest.raises(InputError, match="must define a function kernel"):
        empty.load(read_task(str(FOLDER / "definitions" / "linear.py")))
    with pytest.raises(InputError, match="must define ModelNew"):
        empty.load(read_task(str(FOLDER / "definitions" / "relu.py")))
    with pytest.raises(InputError, match="is no file"):
        Candidate.of_file(tmp_path / "nowhere.py")
    with pytest.raises(InputError, match="has no constant BLOCK"):
        Candidate.of_file(empty.path, BLOCK=3).load(read_task(str(FOLDER / "definitions" / "linear.py")))


def test_constants_of_a_candidate_are_replaced_and_tell_it_from_others(tmp_path: Path) -> None:
    path = written(tmp_path, "BLOCK = 1\n\n\ndef kernel(x, weight, bias):\n    return BLOCK\n")
    task = read_task(str(FOLDER / "definitions" / "linear.py"))
    one, other = Candidate.of_file(path, BLOCK=32), Candidate.of_file(path)
    assert one.load(task)(None, None, None) == 32
    assert (one.name, other.name) == ("some[BLOCK=32]", "some")
    assert one.digest() != other.digest()


def test_smaller_batches_are_made_where_a_file_names_no_settings() -> None:
    task = read_task(str(FOLDER / "definitions" / "relu.py"))
    rows = [draw(task, case, 0)[1].shape[0] for case in cases_of(task) if case.values == "normal"]
    assert set(rows) == {6, 1, 3}


def test_parameters_are_drawn_and_given_to_others_in_order() -> None:
    task = read_task(str(FOLDER / "definitions" / "perceptron.py"))
    case = next(cases_of(task))
    _, *weights, x = draw(task, case, 0)
    assert [tuple(one.shape) for one in weights] == [(16, 8), (16,), (3, 16), (3,)]
    assert list(task.parameters) == [1, 2, 3, 4]
    hidden = (x @ weights[0].mT + weights[1]).relu()
    expected = hidden @ weights[2].mT + weights[3]
    torch.testing.assert_close(task.reference(0, *weights, x), expected)
    ours = Candidate.of_file(FOLDER / "foreign" / "good_perceptron.py").load(task)
    torch.testing.assert_close(ours(0, *weights, x), expected)


def test_layouts_hold_the_same_numbers() -> None:
    x = torch.randn(2, 3, 4)
    for layout, strides in (("dense", (12, 4, 1)), ("transposed", (12, 1, 3)), ("offset", (12, 4, 1))):
        (found,) = placed([x], layout)
        assert torch.equal(found, x)
        assert (found.stride(), found.storage_offset()) == (strides, int(layout == "offset"))
        assert found.data_ptr() != x.data_ptr()


def test_every_setting_meets_all_values_types_and_layouts() -> None:
    task = Task(
        "t", lambda x: x, lambda *_: [], [{"n": 1}, {"n": 2}], ("normal", "zeros"), (torch.float32, torch.float64)
    )
    cases = list(cases_of(task))
    assert len(cases) == 2 * (2 + 1 + 2)
    assert Case({"n": 2}, "zeros", torch.float32, "dense") in cases
    assert str(cases[0]) == "n=1, normal values, float32, dense"


def test_a_task_without_settings_or_with_unknown_values_is_refused() -> None:
    with pytest.raises(InputError, match="settings"):
        Task("t", lambda x: x, lambda *_: [], [])
    with pytest.raises(InputError, match="did you mean 'zeros'"):
        Task("t", lambda x: x, lambda *_: [], [{}], values=("zeroes",))


def test_inputs_of_another_shape_for_each_seed_are_refused() -> None:
    def inputs(generator: torch.Generator, _: object) -> list:
        return [torch.randn(int(torch.randint(1, 1000, (), generator=generator)), generator=generator)]

    judge = Judge(Task("t", lambda x: 2 * x, inputs, [{}]), seed=0)
    with pytest.raises(InputError, match="same shapes for every seed"):
        judge.verdict(lambda: lambda x: 2 * x)
