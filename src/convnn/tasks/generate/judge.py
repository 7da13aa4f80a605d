"""Figures of samples, one function for each form that samples have."""

from collections.abc import Mapping
from functools import singledispatch

from convnn.data import Loader
from convnn.models import OwnLoss
from convnn.train import Recipe


@singledispatch
def judge(network: OwnLoss, recipe: Recipe, loader: Loader, seed: int) -> Mapping[str, float]:
    """Return how far new samples are from a part of the data, by name; nothing unless a network registers it.

    Such figures need samples, which take many steps, so that `convnn generate evaluate` has them and training does not.
    A network registers its own function: `@judge.register`, as for `draw`.

    Args:
        network: what draws samples; its class decides.
        recipe: how the network was built, and what it learned.
        loader: the part of the data.
        seed: seed of the samples.
    """
    return {}
