"""Sequence data sets: images read pixel by pixel."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from convnn.data.sources import Tensors, read_digits
from convnn.errors import check_choice


class Sequences(NamedTuple):
    """One part of a data set.

    Attributes:
        values: (N, T, C) float32, normalised.
        labels: (N,) int64 class indices.
    """

    values: Tensor
    labels: Tensor


@dataclass(frozen=True)
class SequenceData:
    """A data set of sequences of one length.

    Attributes:
        name: one of `list_sequence_datasets()`.
        train: training part.
        test: test part.
        classes: name of each label.
    """

    name: str
    train: Sequences
    test: Sequences
    classes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)


SEQUENCES = {"digits": read_digits}


def list_sequence_datasets() -> list[str]:
    """Return the names that `load_sequences` accepts."""
    return list(SEQUENCES)


def load_sequences(name: str, data_path: str | Path | None = None) -> SequenceData:
    """Open a data set of sequences: the pixels of "digits" row by row, in the same parts as in `load_data`.

    Args:
        name: one of `list_sequence_datasets()`.
        data_path: unused; digits need no file.

    Raises:
        InputError: the name is unknown.

    Example:
        >>> data = load_sequences("digits")
        >>> data.train.values.shape, data.test.labels.shape, data.num_classes
        (torch.Size([1437, 64, 1]), torch.Size([360]), 10)
    """
    check_choice("name", name, SEQUENCES)
    source = SEQUENCES[name]()
    pixels = source.train.images.double() / 255
    mean, std = pixels.mean(), pixels.std()

    def part(tensors: Tensors) -> Sequences:
        values = (tensors.images.double() / 255 - mean) / std
        return Sequences(values.flatten(2).mT.float().contiguous(), tensors.labels)

    return SequenceData(name, part(source.train), part(source.test), source.classes)
