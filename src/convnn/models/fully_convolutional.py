"""Classifiers as networks for segmentation: their features, a class for each position, enlarged to the image."""

from collections.abc import Iterator
from copy import deepcopy
from math import sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models._dense import resized
from convnn.models._network import Network
from convnn.models.external import ExternalNetwork
from convnn.nn._modes import evaluating

SIDES = (32, 64, 224, 256, 384)
"""Sides of the images on which a network is asked for its features, until one suits it."""

HEADS = ("classifier", "fc", "head", "heads", "conv_head", "fc_norm", "head_drop", "avgpool")
"""What networks of torchvision and timm call what follows their features."""


class FullyConvolutional(Network):
    r"""A classifier without its head: a 1x1 convolution of its features gives logits, enlarged bilinearly to the image.

    .. math:: y = \operatorname{resize}(W \operatorname{features}(x) + b)

    Args:
        network: classifier whose features are a map (B, F, H', W'), or tokens on a grid (B, T, D), whose first
            `num_prefix_tokens` are left out. It loses its head.

    Shapes:
        images (B, C, H, W) of the sizes that the classifier reads; logits (B, num_classes, H, W).

    Raises:
        InputError: its features are no map; in forward: as in the classifier.

    Reference:
        Long et al., arXiv 1411.4038, as FCN-32s in the case of VGG, with one map of features.
    """

    task: ClassVar[str] = "segmentation"

    def __init__(self, network: Network) -> None:
        super().__init__(network.in_channels, network.num_classes, network.width)
        if getattr(network, "distillation_token", None) is not None:
            raise InputError("distillation_token=True answers for the whole image, not for its places; leave it out")
        self.network = network
        for parent, name in _heads(network):
            setattr(parent, name, nn.Identity())
        self.head = nn.Conv2d(_channels(network), network.num_classes, 1)

    def check_size(self, height: int, width: int) -> None:
        """Refuse images of a size that the classifier cannot process.

        Raises:
            InputError: the size is refused; the message names the valid sizes.
        """
        self.network.check_size(height, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes, H, W).

        Raises:
            InputError: the images have other channels or axes, or a size that the network cannot process.
        """
        return resized(super().forward(x), x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H', W')."""
        return feature_map(self.network, x)


def feature_map(network: Network, x: Tensor) -> Tensor:
    """Return the last map of features (B, F, H', W') of images (B, C, H, W).

    Raises:
        InputError: the network has none, or it refuses images of this size.
    """
    features = _of_library(network, x) if isinstance(network, ExternalNetwork) else network.forward_features(x)
    if features.dim() == 3:
        features = _on_grid(features[:, _prefix(network) :], x)
    if features.dim() != 4 or features.shape[2] * features.shape[3] < 1:
        raise _no_map(network, f"features of shape {tuple(features.shape)}")
    return features


def _on_grid(tokens: Tensor, images: Tensor) -> Tensor:
    """Return tokens (B, T, D), row by row, as a map (B, D, H', W') in the proportions of the images."""
    height, width = images.shape[2:]
    rows = max(1, round(sqrt(tokens.shape[1] * height / width)))
    if tokens.shape[1] % rows:
        raise InputError(f"{tokens.shape[1]} tokens are no grid over images of {height}x{width} pixels")
    return tokens.transpose(1, 2).unflatten(2, (rows, tokens.shape[1] // rows))


def _prefix(network: Network) -> int:
    inner = network.network if isinstance(network, ExternalNetwork) else network
    return int(getattr(inner, "num_prefix_tokens", "class_token" in dict(inner.named_parameters(recurse=False))))


def _of_library(network: ExternalNetwork, x: Tensor) -> Tensor:
    """Return the features of a network of timm or torchvision, channels first."""
    inner: Any = network.network
    with network.translated_refusals(x):
        if hasattr(inner, "forward_features"):
            features: Tensor = inner.forward_features(x)
            channels_last = features.dim() == 4 and features.shape[1] != inner.num_features == features.shape[3]
            return features.movedim(3, 1) if channels_last else features
        if hasattr(inner, "encoder") and hasattr(inner, "_process_input"):  # torchvision's ViT
            tokens = inner._process_input(x)
            return inner.encoder(torch.cat([inner.class_token.expand(x.shape[0], -1, -1), tokens], dim=1))
        if hasattr(inner, "features"):
            features = inner.features(x)
            return inner.permute(inner.norm(features)) if hasattr(inner, "permute") else features  # Swin
        if hasattr(inner, "layer4"):
            x = inner.maxpool(inner.relu(inner.bn1(inner.conv1(x))))
            return inner.layer4(inner.layer3(inner.layer2(inner.layer1(x))))
        if hasattr(inner, "trunk_output"):
            return inner.trunk_output(inner.stem(x))
    raise _no_map(network, "no part that returns its features")


def _heads(network: Network) -> Iterator[tuple[nn.Module, str]]:
    """Yield what is left out of a network, which would be trained in vain."""
    if not isinstance(network, ExternalNetwork):
        yield from ((network, name) for name in network.head_parts)
    else:
        yield from ((network.network, name) for name in HEADS if hasattr(network.network, name))


@torch.no_grad()
def _channels(network: Network) -> int:
    """Return the number of channels of the features, from those of a small image."""
    probe, first = network, next(network.parameters())
    if first.is_meta:
        probe = deepcopy(network).to_empty(device="cpu")  # some layers choose by values, which meta tensors lack
        for tensor in (*probe.parameters(), *probe.buffers()):
            tensor.zero_()
    refusal = None
    with evaluating(probe), torch.random.fork_rng(devices=[]), torch.device("cpu" if first.is_meta else first.device):
        for side in (side for side in SIDES if side >= network.min_size):
            try:
                return feature_map(probe, torch.zeros(1, network.in_channels, side, side)).shape[1]
            except InputError as error:  # noqa: PERF203 (the first side suits nearly all)
                refusal = error
    raise refusal or _no_map(network, "images too large")


def _no_map(network: Network, has: str) -> InputError:
    name = network.name if isinstance(network, ExternalNetwork) else type(network).__name__
    return InputError(f"{name} has {has}, and a map of classes needs a map of features; choose another network")
