"""Base class of networks."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.ops._transforms import is_transformed


class Network(nn.Module):
    """A classifier of images or sequences, or a regression: `forward_features`, then `forward_head`.

    Attributes:
        task: what it does, as in `convnn.data.LabelledData`: "classification" stands for whatever has one row of
            logits for each sample, "segmentation" for maps of them (B, num_classes, H, W).
        reads: input of its layers, "maps" (B, C, H, W) or "tokens" (B, T, D) of images, "sequences" (B, C, T),
            "volumes" (B, C, D, H, W), or "graphs", nodes (N, C) and edges; or "interactions" of users and items,
            "triples" (B, 3), or "mixtures".
        data: its own input where it is another one, such as "volumes" of a network whose layers read graphs.
        default_layer: layer from which it is built by default.
        built_of: names of all layers from which it can be built, where what they read does not decide; none in a
            network that has no place for any, as on points in space; or None.
        min_size: smallest side of an image, in pixels, that survives its pooling.
        defaults_on: defaults of flags of training on single data sets, by the names of these.
        fewest_classes: least number of classes: 0 where a network needs no labels.
        head: module from features to logits.
        head_parts: names of all modules after the features.
    """

    task: ClassVar[str] = "classification"
    reads: ClassVar[str] = "maps"
    data: ClassVar[str] = ""
    default_layer: ClassVar[str] = "ConvNN"
    built_of: ClassVar[tuple[str, ...] | None] = None
    min_size: ClassVar[int] = 1
    defaults_on: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    fewest_classes: ClassVar[int] = 1
    head_parts: ClassVar[tuple[str, ...]] = ("head",)
    head: nn.Module

    def __init__(self, in_channels: int, num_classes: int, width: float) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("num_classes", num_classes, self.fewest_classes)
        if not width > 0:
            raise InputError(f"width={width} must be positive; 1 is the published network")
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.width = width

    @classmethod
    def sizes(cls, shape: tuple[int, ...]) -> dict[str, int]:
        """Return arguments of the constructor that follow from the shape of the data, besides `in_channels`: none.

        A network that has to know more than the first number of `LabelledData.input_shape`, such as how many categories
        there are, returns it by the names of its arguments. They are no flags, and every checkpoint has them in the
        shape.

        Args:
            shape: the shape that the data set names.
        """
        return {}

    def scaled(self, channels: int) -> int:
        """Return a number of channels of the published network times the width factor."""
        return max(1, round(channels * self.width))

    def forward(self, x: Any) -> Tensor:
        """Map images (B, C, H, W), or sequences (B, C, T), to logits (B, num_classes).

        Raises:
            InputError: the input has other channels or axes, or a size that the network cannot process.
        """
        of_sequences = self.reads == "sequences"
        if x.dim() != (3 if of_sequences else 4) or x.shape[1] != self.in_channels:
            kind, sides = ("sequences", "T") if of_sequences else ("images", "H, W")
            raise InputError(f"{kind} of shape {tuple(x.shape)} must be (B, {self.in_channels}, {sides})")
        if not of_sequences:
            self.check_size(x.shape[2], x.shape[3])
            x = x if is_transformed() else x.contiguous(memory_format=torch.channels_last)  # no layer has to copy
        return self.forward_head(self.forward_features(x))

    def check_size(self, height: int, width: int) -> None:
        """Refuse images of a size that the network cannot process.

        Raises:
            InputError: the size is refused; the message names the valid sizes.
        """
        if min(height, width) < self.min_size:
            raise InputError(
                f"images of {height}x{width} pixels are too small for {type(self).__name__}, which halves them"
                f" until {self.min_size}x{self.min_size} is one pixel; enlarge them: resize={self.min_size}"
            )

    def forward_features(self, x: Any) -> Tensor:
        """Map images (B, C, H, W) to features (B, F, H', W') or tokens (B, T, D), or (B, C, T) to (B, F, T)."""
        raise NotImplementedError

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features to logits (B, num_classes)."""
        return self.head(features)
