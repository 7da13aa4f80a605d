"""The features of a network before its last linear layer, which learns labels from them without changing them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from convnn.data import Loader
from convnn.errors import InputError
from convnn.models import Network
from convnn.nn._modes import evaluating
from convnn.objectives.evaluation import knn_probe, linear_probe

PROBES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], float]] = {"knn": knn_probe, "linear": linear_probe}
"""How the features of a trained network are judged: by their nearest neighbours, or by logistic regression."""


class Probe:
    """Cuts the gradient before the last linear layer of a network, and keeps the features that it reads.

    The layer then learns labels as the usual linear probe does, while the network learns something else: its accuracy
    is that of the probe at any moment.

    Args:
        network: a network that ends in an `nn.Linear` with an output for each class.

    Attributes:
        width: number of features.

    Raises:
        InputError: the network has no such layer.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        linear = [part for part in network.modules() if isinstance(part, nn.Linear)]
        if not linear or linear[-1].out_features != network.num_classes:
            raise self._refusal()
        self.width = linear[-1].in_features
        self._read: list[Tensor] = []
        linear[-1].register_forward_pre_hook(self._cut)

    def read(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """Return the features (B, width) of inputs, with their gradient, and the logits (B, K).

        Raises:
            InputError: the layer is not what the network ends in: it is not called once with a row for each sample.
        """
        self._read.clear()
        logits = self.network(inputs)
        if [tuple(features.shape) for features in self._read] != [(len(logits), self.width)]:
            raise self._refusal()
        return self._read[0], logits

    def _cut(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        self._read.append(inputs[0])
        return (inputs[0].detach(),)

    def _refusal(self) -> InputError:
        network = self.network
        return InputError(
            f"{type(network).__name__} must end in one linear layer from the features of a sample to its"
            f" {network.num_classes} classes, for a probe in its place or training without labels"
        )


def probe_accuracy(network: Network, kind: str, train: Loader, test: Loader) -> float:
    """Return the accuracy, 0 to 1, of a probe on the features of a network; the network does not change.

    Args:
        network: a network that ends in a linear layer.
        kind: one of `PROBES`.
        train: samples that the probe learns from.
        test: samples that it is tested on.

    Raises:
        InputError: the network ends in another layer, or there are fewer samples than neighbours.
    """
    probe = Probe(network)
    return PROBES[kind](*_features(probe, train), *_features(probe, test))


@torch.no_grad()
def _features(probe: Probe, loader: Loader) -> tuple[Tensor, Tensor]:
    """Return the features (N, width) and the labels (N,) of all samples."""
    features, labels = [], []
    with evaluating(probe.network):
        for batch in loader:
            features.append(probe.read(batch.inputs)[0].cpu())
            labels.append(batch.labels.cpu())
    return torch.cat(features), torch.cat(labels)
