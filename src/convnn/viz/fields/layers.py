"""Effective receptive fields of all layers of a network on images."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn import MapLayer, TokenLayer
from convnn.nn._modes import evaluating
from convnn.viz.choices import patches
from convnn.viz.fields.field import FieldSide, field_sides, middle_of

SHARES = (0.2, 0.3, 0.5, 0.99)
"""The published shares of the contributions."""

FEATURES = "features"
"""Name of what the last layer and all that follows it at its positions compute."""

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class LayerField:
    """The effective receptive field of one layer: what its output in the middle of the map depends on.

    Attributes:
        name: path of the layer in its model; "name#2" for its second call; "features" for the map after the last layer,
            with the shortcuts and normalisation that follow it.
        height, width: size of its output; in patches for a layer on tokens.
        scores: (H, W) mean contributions of the pixels of an image, on the CPU, as `receptive_field` defines them.
        sides: the squares that hold the published shares of them; without side if there is no contribution.
        reached: share of the pixels that contribute.
    """

    name: str
    height: int
    width: int
    scores: Tensor
    sides: tuple[FieldSide, ...]
    reached: float


def layer_fields(model: nn.Module, batches: Iterable[Sequence[Tensor]], *, max_images: int = 50) -> list[LayerField]:
    """Measure the effective receptive field of every layer that mixes positions of a map, or patches.

    These are all layers of this package, and convolutions larger than 1x1. Each is measured back to the pixels of the
    image, through all that precedes it, as by `receptive_field` image by image, and averaged over images. For tokens,
    the middle is that patch.

    Args:
        model: a network; its hooks and training modes are restored afterwards.
        batches: batches that begin with images (B, C, H, W), all of one size, on the device of the model.
        max_images: number of images after which to stop; the published number is 50.

    Returns:
        A field for each call of such a layer, in order of execution, and one for the features.

    Raises:
        InputError: no layer mixes positions, there is no image, or tokens are not patches.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        >>> fields = layer_fields(network, [[torch.rand(2, 3, 9, 9)]])
        >>> [field.name for field in fields], fields[0].reached <= 9 / 81
        (['0', '2', 'features'], True)
    """
    layers = mixing_layers(model)
    totals: dict[str, tuple[tuple[int, int], Tensor]] = {}
    count = 0
    for images in _one_by_one(batches, max_images):
        image = images.detach().clone().requires_grad_()
        for name, (size, gradient) in _gradients(model, layers, image).items():
            scores = gradient.relu().sum((0, 1)).double().cpu()
            totals[name] = size, totals[name][1] + scores if name in totals else scores
        count += 1
    if not count:
        raise InputError("batches hold no image; they must hold at least one")
    return [_field(name, size, total / count) for name, (size, total) in totals.items()]


def mixing_layers(model: nn.Module) -> dict[nn.Module, str]:
    """Return the outermost layers that mix positions of 2-d maps or tokens, with their paths in the model.

    Raises:
        InputError: the model has no such layer.
    """
    names: dict[nn.Module, str] = {}
    inside = None
    for name, module in model.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        if _mixes(module):
            names[module] = name or type(module).__name__
            inside = f"{name}." if name else ""
    if not names:
        raise InputError(
            f"model {type(model).__name__} has no layer that mixes positions; give it a convolution or a layer of ours"
        )
    return names


def _mixes(module: nn.Module) -> bool:
    if isinstance(module, CONVOLUTIONS):
        return max(module.kernel_size) > 1
    return isinstance(module, TokenLayer) or (isinstance(module, MapLayer) and module.spatial_dims == 2)


def _one_by_one(batches: Iterable[Sequence[Tensor]], number: int) -> Iterator[Tensor]:
    """Yield the first images as batches of one."""
    for batch in batches:
        for image in batch[0]:
            if number <= 0:
                return
            number -= 1
            yield image.unsqueeze(0)


def _gradients(
    model: nn.Module, layers: dict[nn.Module, str], image: Tensor
) -> dict[str, tuple[tuple[int, int], Tensor]]:
    """Return the size of each layer's output, and the gradient of what is positive in its middle, by name."""
    seen: dict[str, tuple[tuple[int, int], Tensor]] = {}
    with torch.enable_grad(), _recording(model, layers, image, seen):
        model(image)
        return {
            name: (size, torch.autograd.grad(score, image, retain_graph=True)[0])
            for name, (size, score) in seen.items()
        }


@contextmanager
def _recording(
    model: nn.Module, layers: dict[nn.Module, str], image: Tensor, seen: dict[str, tuple[tuple[int, int], Tensor]]
) -> Iterator[None]:
    """Record size and score of the outputs of layers, and of the last output at the positions of the last layer."""
    shapes: list[tuple[int, ...]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor) or output.dim() not in (3, 4):
            return
        shape = _positions(output)
        if module in layers:
            name, calls = layers[module], 1
            while (key := name if calls == 1 else f"{name}#{calls}") in seen:
                calls += 1
            seen.pop(FEATURES, None)
            shapes.append(shape)
            seen[key] = _middle(output, image)
        elif shapes and shape == shapes[-1]:
            seen.pop(FEATURES, None)
            seen[FEATURES] = _middle(output, image)

    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(evaluating(model))
        for module in model.modules():
            stack.enter_context(module.register_forward_hook(record))
        yield


def _positions(output: Tensor) -> tuple[int, ...]:
    """Return the size of a map, or the number of tokens."""
    return tuple(output.shape[2:]) if output.dim() == 4 else (output.shape[1],)


def _middle(output: Tensor, image: Tensor) -> tuple[tuple[int, int], Tensor]:
    """Return the size of a map, or of the grid of patches, and the sum of what is positive in its middle."""
    if output.dim() == 4:
        return (output.shape[2], output.shape[3]), middle_of(output).relu().sum()
    rows, columns = patches(output.shape[1], image)
    first = output.shape[1] - rows * columns  # patches follow the other tokens
    return (rows, columns), output[:, first + rows // 2 * columns + columns // 2].relu().sum()


def _field(name: str, size: tuple[int, int], scores: Tensor) -> LayerField:
    has_any = bool(scores.max() > 0)
    sides = field_sides(scores, SHARES) if has_any else [FieldSide(share, None, None) for share in SHARES]
    return LayerField(name, *size, scores, tuple(sides), (scores > 0).double().mean().item())
