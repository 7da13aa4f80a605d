"""Weights in one safetensors file with what is needed to build the network again; loading executes nothing."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from convnn.errors import InputError
from convnn.models import Network, create_model
from convnn.train.files import write_atomically

METADATA_KEY = "convnn"


@dataclass(frozen=True)
class Recipe:
    """How a network was built and what its images were.

    Attributes:
        model, layer, width, settings: arguments of `convnn.models.create_model`.
        dataset: what it learned.
        image_shape: (C, H, W) of its images.
        mean, std: by which they were normalised, per channel.
        classes: names in the order of the logits.
        epoch: epochs trained.
        test_top1: accuracy then, 0 to 1.
    """

    model: str
    layer: str
    width: float
    settings: dict[str, Any]
    dataset: str
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    epoch: int = 0
    test_top1: float = 0.0

    def build(self) -> Network:
        """The network with fresh weights."""
        return create_model(
            self.model,
            self.layer,
            in_channels=self.image_shape[0],
            num_classes=len(self.classes),
            width=self.width,
            **self.settings,
        )


def save_checkpoint(path: Path, network: Network, recipe: Recipe) -> None:
    """Write weights and recipe; the file is whole or not there.

    Raises:
        TrainingError: the file cannot be written.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, save(weights, metadata={METADATA_KEY: json.dumps(asdict(recipe))}))


def load_checkpoint(path: str | Path) -> tuple[Network, Recipe]:
    """The network of a checkpoint, in evaluation mode on the CPU, and its recipe.

    Raises:
        InputError: the file is missing, broken, not of this package, or its weights do not fit its recipe.
    """
    recipe, weights = _read(Path(path))
    network = recipe.build()
    load_weights(network, weights, path)
    return network.eval(), recipe


def load_weights(network: Network, weights: dict[str, Tensor], path: str | Path) -> None:
    """Copy weights into a network that has exactly these.

    Raises:
        InputError: a name or a shape differs, naming the first.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        ours, theirs = expected.get(name), weights.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            shapes = [None if t is None else tuple(t.shape) for t in (theirs, ours)]
            raise InputError(
                f"checkpoint '{path}' is of another model: {name!r} has shape {shapes[0]} there and {shapes[1]} here"
            )
    network.load_state_dict(weights)


def _read(path: Path) -> tuple[Recipe, dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"checkpoint '{path}' is not a file; give one such as best.safetensors of a run")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"checkpoint '{path}' cannot be read: {str(error).splitlines()[0]}") from None
    if METADATA_KEY not in metadata:
        raise InputError(f"checkpoint '{path}' was not written by convnn: it does not say which network it holds")
    try:
        fields = json.loads(metadata[METADATA_KEY])
        sequences = {name: tuple(fields[name]) for name in ("image_shape", "mean", "std", "classes")}
        recipe = Recipe(**(fields | sequences))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"checkpoint '{path}' has a recipe that cannot be read: {error}") from None
    return recipe, weights
