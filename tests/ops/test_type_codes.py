"""Codes of types, against Python's own digits and nearest levels."""

import pytest
import torch

from convnn.errors import InputError
from convnn.ops.type_codes import CODES, code_channels, decode_types, encode_types


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kinds", [2, 5, 8, 150])
@pytest.mark.parametrize("dim", [-1, 1])
def test_what_is_coded_comes_back_even_with_noise(code: str, kinds: int, dim: int) -> None:
    types = torch.arange(kinds).repeat(2).view(2, -1)
    numbers = encode_types(types, kinds, code, dim, dtype=torch.float64)
    assert numbers.shape[dim] == code_channels(kinds, code)
    noise = 0.9 / (kinds - 1) if code == "scalar" else 0.9
    noisy = numbers + noise * (2 * torch.rand_like(numbers) - 1)
    torch.testing.assert_close(decode_types(noisy, kinds, code, dim), types)
    assert numbers.abs().max() == 1


def test_codes_are_those_of_the_definition() -> None:
    for i in range(6):
        digits = [2.0 * (digit == "1") - 1 for digit in f"{i:03b}"]
        assert encode_types(torch.tensor(i), 6, "bits").tolist() == digits
        assert encode_types(torch.tensor(i), 6, "scalar").item() == pytest.approx(2 * i / 5 - 1)
        assert encode_types(torch.tensor(i), 6, "one_hot").tolist() == [1.0 if j == i else -1.0 for j in range(6)]


def test_ties_go_down_and_what_is_too_large_is_the_last() -> None:
    levels = torch.tensor([[-3.0], [-0.75], [-0.25], [0.25], [0.26], [7.0]])
    assert decode_types(levels, 5, "scalar").tolist() == [0, 0, 1, 2, 3, 4]
    assert decode_types(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.1, -2.0]]), 6, "bits").tolist() == [5, 2]
    assert decode_types(torch.tensor([[0.5, 0.5, 0.1]]), 3, "one_hot").tolist() == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_types(torch.tensor([0, 6]), 6), "type 6 must be from 0 to 5, since num_types=6"),
        (lambda: encode_types(torch.tensor([-1, 2]), 6), "type -1 must be from 0 to 5"),
        (lambda: encode_types(torch.tensor([1.0]), 6), "types of torch.float32 must be whole numbers"),
        (lambda: encode_types(torch.tensor([0]), 6, "bit"), "code='bit' is not one of .*; did you mean 'bits'"),
        (lambda: encode_types(torch.tensor([0]), 1), "num_types=1 must be an integer of at least 2"),
        (lambda: decode_types(torch.zeros(4, 2), 6), r"numbers of shape \(4, 2\) must have 3 along axis -1"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
