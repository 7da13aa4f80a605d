"""Initial weights from another run."""

from pathlib import Path

from torch import Tensor

from convnn.models import Network
from convnn.train.checkpoint import check_weights, read_any


def start_from(network: Network, path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Load the weights of a checkpoint, batch statistics included, into a network.

    If the number of classes differs, the head, whose weights have the classes as their first axis, is not loaded.

    Args:
        network: takes them.
        path: a checkpoint, the folder of a run, or one as on the Hugging Face hub.
        num_classes: of the network.

    Returns:
        The names of the weights that were not loaded.

    Raises:
        InputError: the file cannot be read or is of another network.
    """
    checkpoint = read_any(path)
    initial, saved, num_saved_classes = network.state_dict(), checkpoint.weights, len(checkpoint.recipe.classes)

    def is_head(source: Tensor | None, target: Tensor) -> bool:
        has_classes = source is not None and source.shape == (num_saved_classes, *target.shape[1:])
        return has_classes and len(target) == num_classes

    head = [
        name
        for name, _ in network.named_parameters()
        if num_saved_classes != num_classes and initial[name].dim() and is_head(saved.get(name), initial[name])
    ]
    weights = saved | {name: initial[name] for name in head}
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return tuple(head)
