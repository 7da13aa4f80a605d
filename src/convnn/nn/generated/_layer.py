"""What layers with generated kernels share: the positions that they compute, and how they are shown."""

from collections.abc import Iterable

from torch import Tensor

from convnn.nn._places import Places
from convnn.nn._settings import unless_usual, written
from convnn.nn.generated.convolve import Targets
from convnn.nn.generated.operator import GeneratedConv


def targets_of(places: Places, x: Tensor) -> list[Targets]:
    """Return the positions of a map (B, C, *S) that a layer computes."""
    return [Targets(*computed) for computed in places.computed(x.shape[2:])]


def described(operator: GeneratedConv, places: Places, groups: int | None = None) -> Iterable[object]:
    """Return what `extra_repr` shows of a layer with a generated kernel: reach, geometry and groups."""
    yield written(horizon=operator.horizon.sides)
    yield unless_usual(causal=(operator.horizon.causal, False), use_fft=(operator.use_fft, "auto"))
    yield from (places, unless_usual(groups=(operator.groups if groups is None else groups, 1)))
