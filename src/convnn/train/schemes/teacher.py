"""A trained network that teaches another: it reads the same inputs, and learns nothing."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convnn.data import LabelledData
from convnn.data.builders import IMAGENET_STATISTICS
from convnn.errors import InputError, UnsupportedError
from convnn.files import expand_home
from convnn.models import ExternalNetwork, Network, is_external
from convnn.models.external import UNCHANGED, check_external
from convnn.models.published import UNNEEDED, read_tensors
from convnn.objectives import dense_responses
from convnn.train.checkpoint import check_classes, check_weights, load_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.optim import precise

Statistics = tuple[Sequence[float], Sequence[float]]


class Teacher:
    """A trained network in evaluation mode. It is no module, so that nobody trains or saves it.

    Args:
        network: the network.
        own: mean and standard deviation of each channel by which the inputs of its training were normalised.
        given: those of the inputs that it gets.

    Attributes:
        digest: (4,) int64, which is another for other weights.
    """

    def __init__(self, network: Network, own: Statistics, given: Statistics) -> None:
        self.network = network.eval().requires_grad_(False)
        self.digest = _digest(network)
        self._moments = None if (*own[0], *own[1]) == (*given[0], *given[1]) else torch.tensor([*own, *given])

    @torch.no_grad()
    def logits(self, inputs: Any) -> Tensor:
        """Return the logits (B, K) of inputs that are normalised for the student."""
        return precise(self.network(self._normalised(inputs)))

    @torch.no_grad()
    def responses(self, inputs: Tensor) -> Tensor:
        """Return what its classifier says at every place of its last map, (B, K, h, w).

        Raises:
            UnsupportedError: it has no map before its classifier.
        """
        inner: Any = self.network.network if isinstance(self.network, ExternalNetwork) else self.network
        try:
            features = inner.forward_features(self._normalised(inputs))
            return precise(dense_responses(features, inner.forward_head))
        except (AttributeError, InputError):
            name = type(inner).__name__
            raise UnsupportedError(
                f"{name} has no map of features before a classifier that reads one; a CNN of convnn or timm has"
            ) from None

    def _normalised(self, inputs: Any) -> Any:
        if self._moments is None:
            return inputs
        mean, std, given_mean, given_std = (
            row.view(-1, *(1,) * (inputs.dim() - 2)) for row in self._moments.to(inputs.device)
        )
        return (inputs * given_std + given_mean - mean) / std


def load_teacher(config: TrainConfig, data: LabelledData, device: torch.device) -> Teacher:
    """Load the teacher that `--distill` names.

    Raises:
        InputError: there is no such network or file, or it has learned other classes or inputs of another shape.
    """
    name = str(config.distill)
    load = _external if is_external(name) and not Path(name).exists() else _own
    network, statistics = load(name, config, data)
    return Teacher(network.to(device), statistics, (data.mean, data.std))


def _own(name: str, config: TrainConfig, data: LabelledData) -> tuple[Network, Statistics]:
    if config.distill_checkpoint is not None:
        raise InputError(
            f"--distill_checkpoint={config.distill_checkpoint} is for teachers timm:NAME and torchvision:NAME;"
            f" --distill={name} has weights of its own"
        )
    network, recipe = load_checkpoint(expand_home(name, "--distill"))
    check_classes(recipe, data.classes, f"--dataset={config.dataset} cannot be taught by --distill={name}: it")
    if (recipe.kind, recipe.input_shape) != (data.kind, data.input_shape):
        raise InputError(
            f"--distill={name} learned {recipe.kind}s of shape {recipe.input_shape}, but --dataset={config.dataset} has"
            f" {data.kind}s of {data.input_shape}; bring them to that shape"
        )
    return network, (recipe.mean, recipe.std)


def _external(name: str, config: TrainConfig, data: LabelledData) -> tuple[Network, Statistics]:
    check_external(name, "--distill")
    if config.distill_checkpoint is None:
        raise InputError(
            f"--distill={name} needs --distill_checkpoint=FILE, its weights for the {data.num_classes} classes of"
            f" --dataset={config.dataset}; nothing is downloaded"
        )
    if data.kind != "image":
        raise InputError(f"--distill={name} reads images, but --dataset={config.dataset} has {data.kind}s")
    network = ExternalNetwork(name, UNCHANGED, in_channels=data.input_shape[0], num_classes=data.num_classes)
    counters = {key: value for key, value in network.network.state_dict().items() if key.endswith(UNNEEDED)}
    path = Path(config.distill_checkpoint)
    weights = counters | read_tensors(path)
    check_weights(network.network, weights, path)
    network.network.load_state_dict(weights)
    about = getattr(network.network, "pretrained_cfg", {})
    statistics = (about.get("mean", IMAGENET_STATISTICS[0]), about.get("std", IMAGENET_STATISTICS[1]))
    fits = len(statistics[0]) == data.input_shape[0]
    return network, statistics if fits else (data.mean, data.std)


def _digest(network: nn.Module) -> Tensor:
    """Return 32 bytes that tell the weights and statistics of a network from others, as (4,) int64."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(found.digest()), dtype=torch.int64).clone()
