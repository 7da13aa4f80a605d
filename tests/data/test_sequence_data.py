"""Sequences: the digits pixel by pixel."""

import pytest
import torch

from convnn.data import list_sequence_datasets, load_data, load_sequences
from convnn.errors import InputError


def test_digits_are_those_of_the_images_row_by_row() -> None:
    sequences, images = load_sequences("digits"), load_data("digits", batch_size=360)
    batch = next(iter(images.test))
    torch.testing.assert_close(sequences.test.values, batch.images.reshape(360, 64, 1))
    assert torch.equal(sequences.test.labels, batch.labels)
    assert sequences.train.values.shape == (1437, 64, 1)
    assert sequences.train.values.mean().item() == pytest.approx(0, abs=1e-5)
    assert sequences.classes == images.classes


def test_an_unknown_name() -> None:
    assert list_sequence_datasets() == ["digits"]
    with pytest.raises(InputError, match=r"^name='digit' is not one of digits; did you mean 'digits'\?$"):
        load_sequences("digit")
