"""A word, once, about what an exact search costs on a large map."""

import warnings

import torch
from torch import Tensor

CONVOLUTIONS = 10  # more than so many are worth a warning
WORK = 2**28  # and so many multiplications for each image, about 10 ms


class SlowSearchWarning(UserWarning):
    """An exact search costs many times what a convolution on the same map costs."""


class _Said:
    is_said = False


def warn_of_cost(queries: Tensor, keys: Tensor, K: int) -> None:
    """Warn, once in a process, if an exact search costs more than ten convolutions of K slots and as many channels."""
    if _Said.is_said or torch.compiler.is_compiling():
        return
    count, length, channels = queries.shape[1], keys.shape[1], keys.shape[2]
    convolutions = length / (K * channels)
    if convolutions <= CONVOLUTIONS or count * length * channels < WORK:
        return
    _Said.is_said = True
    warnings.warn(
        f"comparing {count:,} positions with {length:,} takes as many operations as {convolutions:.0f} convolutions of"
        f" {K} slots; search='clustered' finds 95 % of the neighbours in a fraction of them, sampling_type='random' or"
        " 'spatial' compares with num_samples positions, ConvNN_Pos with those around the window, and replace_layers"
        " leaves large maps alone with where=Where(map_size=(1, 32))",
        SlowSearchWarning,
        stacklevel=2,
    )
