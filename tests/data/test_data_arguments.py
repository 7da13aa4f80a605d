import re
from pathlib import Path

import pytest

from convnn.data import DATASETS, load_data
from convnn.errors import InputError


def test_every_data_set_is_in_the_table_of_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    rows = [line.split("|")[1] for line in manual.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall("`([^`]+)`", row)}
    assert set(DATASETS) <= listed


def test_an_unknown_data_set_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"^dataset='cifar11' is not one of cifar10, .*; did you mean 'cifar10'\?"):
        load_data("cifar11")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 0),
        ("resize", 0),
        ("resize", -8),
        ("limit_train", 0),
        ("limit_test", -1),
        ("num_workers", -1),
        ("noise", -0.1),
        ("noise", float("nan")),
        ("noise", float("inf")),
    ],
)
def test_a_value_out_of_range_is_named(argument, value):
    with pytest.raises(InputError, match=rf"^{argument}={value} must be .*at least [01]$"):
        load_data("digits", **{argument: value})
