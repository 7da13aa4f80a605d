"""Pretrained weights of other libraries, which download and cache them."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from convnn.errors import InputError, first_line, is_out_of_memory

Result = TypeVar("Result")


def load_torchvision_weights(name: str, network: nn.Module) -> tuple[str, ...]:
    """Load the default pretrained weights of torchvision into a network.

    Args:
        name: name of the network.
        network: network built by torchvision, for images of three channels and any number of classes.

    Returns:
        The names of the weights that were not loaded: those of a head with another number of classes.

    Raises:
        InputError: the weights cannot be downloaded or read.
    """
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    learned = fetched(f"torchvision:{name}", lambda: weights.get_state_dict(progress=True, check_hash=True))
    ours = network.state_dict()
    fitting = {key: value for key, value in learned.items() if key in ours and value.shape == ours[key].shape}
    network.load_state_dict(fitting, strict=False)  # the others are auxiliary heads for training
    return tuple(key for key, _ in network.named_parameters() if key not in fitting)


def fetched(name: str, fetch: Callable[[], Result]) -> Result:
    """Return the download of a library, or refuse in one sentence.

    Raises:
        InputError: the download fails; the message names the network and the reason.
    """
    try:
        return fetch()
    except Exception as error:  # each library has its own errors for network, file and format
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"pretrained=True: the weights of {name} cannot be fetched: {first_line(error).rstrip('.')}; check the"
            " connection, or leave pretrained out"
        ) from None
