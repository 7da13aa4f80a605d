"""Weights to start from, which another run has learned."""

from pathlib import Path

from torch import Tensor

from convnn.models import Network
from convnn.train.checkpoint import check_weights, read_any


def start_from(network: Network, path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Give a network the weights of a checkpoint, batch statistics included.

    A head that learned another number of classes is left as it is: the weights whose first axis is the classes.

    Args:
        network: takes them.
        path: a checkpoint, the folder of a run, or one as on the Hugging Face hub.
        num_classes: of the network.

    Returns:
        The names of the weights that were left as they are.

    Raises:
        InputError: the file cannot be read, or is of another network.
    """
    checkpoint = read_any(path)
    ours, theirs, num_learned = network.state_dict(), checkpoint.weights, len(checkpoint.recipe.classes)

    def is_head(there: Tensor | None, here: Tensor) -> bool:
        return there is not None and there.shape == (num_learned, *here.shape[1:]) and len(here) == num_classes

    head = [
        name
        for name, _ in network.named_parameters()
        if num_learned != num_classes and ours[name].dim() and is_head(theirs.get(name), ours[name])
    ]
    weights = theirs | {name: ours[name] for name in head}
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return tuple(head)
