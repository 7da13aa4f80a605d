"""Weights that other libraries have learned, fetched and cached as each library does it."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from convnn.errors import InputError, first_line, is_out_of_memory

Result = TypeVar("Result")


def load_torchvision_weights(name: str, network: nn.Module) -> tuple[str, ...]:
    """Give a network of torchvision the weights that its library takes by default.

    Args:
        name: of the network.
        network: built by torchvision, for images of three channels and any number of classes.

    Returns:
        The names of the weights that stay fresh: those of a head of another number of classes.

    Raises:
        InputError: the weights cannot be fetched or read.
    """
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    learned = fetched(f"torchvision:{name}", lambda: weights.get_state_dict(progress=True, check_hash=True))
    ours = network.state_dict()
    fitting = {key: value for key, value in learned.items() if key in ours and value.shape == ours[key].shape}
    network.load_state_dict(fitting, strict=False)  # beyond these it has heads that help training alone
    return tuple(key for key, _ in network.named_parameters() if key not in fitting)


def fetched(name: str, fetch: Callable[[], Result]) -> Result:
    """Return what a library fetches, or say in a sentence why it cannot.

    Raises:
        InputError: naming the network and the reason.
    """
    try:
        return fetch()
    except Exception as error:  # of the network, the file, its format: each library has its own
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"pretrained=True: the weights of {name} cannot be fetched: {first_line(error).rstrip('.')}; check the"
            " connection, or leave pretrained out"
        ) from None
