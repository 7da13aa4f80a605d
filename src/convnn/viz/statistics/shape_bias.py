"""Shape bias: whether a network classifies by shape or by texture where the two disagree."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._modes import evaluating

Cues = tuple[str, str]


@dataclass(frozen=True)
class ShapeBias:
    r"""The decisions of a network on images whose shape and texture belong to different classes.

    .. math:: \text{bias} = \frac{\text{shape decisions}}{\text{shape decisions} + \text{texture decisions}}

    Attributes:
        images: number of images, in all and for each class of the shape.
        shape: how many of them got the class of their shape.
        texture: how many got that of their texture.
    """

    images: dict[str, int]
    shape: dict[str, int]
    texture: dict[str, int]

    @property
    def bias(self) -> float:
        """The share of shape decisions among correct decisions, those for one of the two classes; NaN without any."""
        return self.share_of(sum(self.shape.values()), sum(self.texture.values()))

    @property
    def correct(self) -> float:
        """The share of correct decisions among all."""
        return (sum(self.shape.values()) + sum(self.texture.values())) / sum(self.images.values())

    def bias_of(self, name: str) -> float:
        """Return the bias on images whose shape is of a class."""
        return self.share_of(self.shape[name], self.texture[name])

    @staticmethod
    def share_of(shape: int, texture: int) -> float:
        """Return the share of shape decisions among both, NaN for none."""
        return shape / (shape + texture) if shape + texture else nan


def shape_bias(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Sequence[Cues]]],
    classes: Sequence[str],
    *,
    members: dict[str, Sequence[int]] | None = None,
) -> ShapeBias:
    """Measure the shape bias of a classifier on cue-conflict images.

    Args:
        model: a classifier; its training modes are restored afterwards.
        batches: images (B, C, H, W) on the device of the model and, for each, the classes of its shape and texture.
        classes: names of the classes in the order of the logits, or of categories.
        members: indices of the logits of each category; its probability is their mean. None: every class is one.

    Raises:
        InputError: a cue is no class, an image has one class for both, or there is no image.

    Reference:
        Geirhos et al., "ImageNet-trained CNNs are biased towards texture; increasing shape bias improves accuracy and
        robustness", arXiv 1811.12231, also for the 16 categories of 1000 classes.

    Example:
        >>> images = torch.tensor([[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]], [[[1.0]], [[0.0]]]])
        >>> cues = [("cat", "dog"), ("cat", "dog"), ("dog", "cat")]
        >>> result = shape_bias(nn.Flatten(), [(images, cues)], ["cat", "dog"])
        >>> round(result.bias, 2), result.correct
        (0.33, 1.0)
    """
    counts: dict[str, list[int]] = {}
    for images, cues in batches:
        for (shape, texture), decision in zip(cues, _decisions(model, images, classes, members), strict=True):
            _check_cues(shape, texture, classes)
            count = counts.setdefault(shape, [0, 0, 0])
            count[0] += 1
            count[1] += decision == shape
            count[2] += decision == texture
    if not counts:
        raise InputError("batches hold no image; they must hold at least one")
    ordered = [name for name in classes if name in counts]
    return ShapeBias(*({name: counts[name][place] for name in ordered} for place in range(3)))


@torch.no_grad()
def _decisions(
    model: nn.Module, images: Tensor, classes: Sequence[str], members: dict[str, Sequence[int]] | None
) -> list[str]:
    """Return the most probable class of each image."""
    with evaluating(model):
        probabilities = model(images).softmax(dim=1)
    if members is not None:
        probabilities = torch.stack([probabilities[:, list(members[name])].mean(1) for name in classes], dim=1)
    return [classes[index] for index in probabilities.argmax(1).tolist()]


def _check_cues(shape: str, texture: str, classes: Sequence[str]) -> None:
    for name in (shape, texture):
        if name not in classes:
            raise InputError(f"cue {name!r} is not one of the classes {', '.join(classes)}")
    if shape == texture:
        raise InputError(f"shape and texture are both {shape!r}; a cue conflict has two classes")


def cues_of(path: str, classes: Iterable[str]) -> Cues | None:
    """Return the classes of shape and texture in the published name of a picture, such as "cat7-elephant1.png".

    Returns:
        None if one of them is not among the classes, or both are the same.

    Raises:
        InputError: the name has another form.
    """
    stem = Path(path).stem
    if not re.fullmatch(r".+-.+", stem):
        raise InputError(f"picture {path!r} must be named after its shape and texture, such as cat7-elephant1.png")
    names = "|".join(re.escape(name) for name in sorted(classes, key=len, reverse=True))
    match = re.fullmatch(rf"({names})\d*-({names})\d*", stem)
    return None if match is None or match[1] == match[2] else (match[1], match[2])
