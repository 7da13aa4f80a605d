"""Files of samples, one function for each form that samples have."""

from functools import singledispatch
from pathlib import Path
from typing import Any

from convnn.errors import InputError
from convnn.models import OwnLoss
from convnn.train import Recipe


@singledispatch
def write(network: OwnLoss, samples: Any, recipe: Recipe, path: Path) -> None:
    """Write samples as text; a network registers its own function: `@write.register`, as for `draw`.

    Args:
        network: what drew the samples; its class decides.
        samples: what `network.sample` returned.
        recipe: how the network was built, and what it learned.
        path: the file, .json, in an existing folder.

    Raises:
        InputError: nothing is registered for the network.
        OutputError: the file cannot be written.
    """
    check_written(network)


def check_written(network: OwnLoss) -> None:
    """Refuse a network whose samples nothing writes as text.

    Raises:
        InputError: nothing is registered for it.
    """
    if write.dispatch(type(network)) is write.dispatch(object):
        raise InputError(
            f"network={type(network).__name__} has samples of {network.data}, which are drawn, not written"
        )
