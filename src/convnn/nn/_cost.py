"""The warning about the cost of an exact search on a large map."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

CONVOLUTIONS = 10  # a search that costs more of them is worth a warning
WORK = 2**28  # multiplications for each image, about 10 ms; less is never slow


class SlowSearchWarning(UserWarning):
    """An exact search costs many times what a convolution on the same map costs."""


class _Said:
    is_said = False


@contextmanager
def without_warning() -> Iterator[None]:
    """Give no warning within the block, whose exact searches are wanted: they measure what a clustered one finds."""
    before, _Said.is_said = _Said.is_said, True
    try:
        yield
    finally:
        _Said.is_said = before


def warn_of_cost(queries: Tensor, keys: Tensor, K: int) -> None:
    """Warn, once in a process, if an exact search costs more than ten convolutions of K slots and as many channels."""
    if torch.compiler.is_compiling() or _Said.is_said:  # in this order, or code compiled before would compile again
        return
    count, length, channels = queries.shape[1], keys.shape[1], keys.shape[2]
    if count * length * channels < WORK or length <= CONVOLUTIONS * K * channels:
        return
    _Said.is_said = True
    warnings.warn(
        f"comparing {count:,} positions with {length:,} takes as many operations as {length / (K * channels):.0f}"
        f" convolutions of {K} slots; search='clustered' finds 95 % of the neighbours in a fraction of them,"
        " sampling_type='random' or 'spatial' compares with num_samples positions, ConvNN_Pos with those around the"
        " window, and replace_layers leaves large maps alone with where=Where(map_size=(1, 32))",
        SlowSearchWarning,
        stacklevel=2,
    )
