"""Whom every layer of a network chooses, seen from outside."""

from contextlib import ExitStack
from dataclasses import dataclass
from math import gcd, isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn import MultiheadAttention, NeighborAttention, SearchingLayer
from convnn.nn._modes import evaluating


@dataclass(frozen=True)
class LayerNeighbors:
    """The choices of one layer on one image.

    Attributes:
        name: path of the layer in its model, such as "features.0.branch1"; its class where it is the model itself.
        size: height and width of the map that was searched, without padding; smaller than the layer's input where
            pixels were unshuffled; patches along each side where the layer reads tokens.
        queries: (N, 2) int64, row and column on that map of the positions that choose: all of them in raster order, or
            fewer.
        places: (N, K, 2) int64, row and column of each query's neighbours on that map, outside 0 .. size - 1 where a
            neighbour is padding, or a token that is no patch. Of several heads all are here, K / heads of each.
        scores: (N, K), how much each neighbour counts, larger is more; comparable within one layer only.
        outside: what lies outside the map, "padding" or "class token".
        heads: how many choose, each for itself.
    """

    name: str
    size: tuple[int, int]
    queries: Tensor
    places: Tensor
    scores: Tensor
    outside: str = "padding"
    heads: int = 1

    @property
    def window(self) -> int:
        """Side of the smallest odd square that holds the neighbours of one head: what a convolution would look at."""
        side = isqrt(self.places.shape[1] // self.heads - 1) + 1
        return side + (side % 2 == 0)

    def query_at(self, place: tuple[int, int]) -> int:
        """The query nearest to a place on the map; of several the first."""
        return int((self.queries - torch.tensor(place)).square().sum(dim=1).argmin())


def best_first(scores: Tensor) -> Tensor:
    """Indices that sort scores along the last axis: the highest first, equals in their order, NaN last."""
    return scores.masked_fill(scores.isnan(), -torch.inf).argsort(dim=-1, descending=True, stable=True)


def find_neighbors(model: nn.Module, image: Tensor) -> list[LayerNeighbors]:
    """Whom every layer on 2-d maps or on patches chooses on one image, in evaluation mode and without gradients.

    Dense attention looks at everybody; it is left out where other layers choose.

    Args:
        model: a network with such layers; its hooks and training modes are afterwards as before. Tokens must be the
            patches of the image, row by row, behind any number of others.
        image: (1, C, H, W), on the device of the model and prepared as for training.

    Returns:
        One entry for each call of such a layer, in order of execution, on the CPU.

    Raises:
        InputError: the model has no such layer, the image is not a batch of one, or tokens are no patches of it.

    Example:
        >>> from convnn.nn import ConvNN2d
        >>> [layer] = find_neighbors(ConvNN2d(3, 8, K=5), torch.rand(1, 3, 6, 4))
        >>> layer.size, tuple(layer.places.shape)
        ((6, 4), (24, 5, 2))
    """
    if image.dim() != 4 or len(image) != 1:
        raise InputError(f"image of shape {tuple(image.shape)} must be one image (1, C, H, W)")
    names = _choosing_layers(model)
    found: list[LayerNeighbors] = []

    def record(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(layer, SearchingLayer):
            found.append(_choices_on_map(names[layer], layer, inputs[0]))
        elif isinstance(layer, NeighborAttention):
            found.append(_choices_on_patches(names[layer], layer, inputs[0], image))

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(model))
        for layer in names:
            stack.enter_context(layer.register_forward_pre_hook(record))
        model(image)
    return found


def choose_queries(image: Tensor, n: int) -> list[tuple[int, int]]:
    """A few pixels worth asking about: where the image changes, and far from each other.

    Each has the highest product of root contrast and distance, to the border and to those chosen before.

    Args:
        image: (C, H, W) or (1, C, H, W).
        n: how many, 1 to H * W.

    Returns:
        Row and column of n different pixels, the same for the same image.

    Raises:
        InputError: n is out of range.
    """
    height, width = image.shape[-2:]
    check_at_least("n", n, 1)
    if n > height * width:
        raise InputError(f"n={n} is more than the {height * width} pixels of a {height}x{width} image")
    contrast = _contrast(image).sqrt()
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
    distance = torch.cat([pixels + 1, torch.tensor([height, width]) - pixels], dim=1).amin(dim=1)
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int((contrast * distance).argmax()))
        distance = distance.minimum((pixels - pixels[chosen[-1]]).norm(dim=1))
    return [divmod(index, width) for index in chosen]


def _choosing_layers(model: nn.Module) -> dict[nn.Module, str]:
    names: dict[nn.Module, str] = {}
    for name, module in model.named_modules():
        on_map = isinstance(module, SearchingLayer) and module.spatial_dims == 2
        if on_map or isinstance(module, NeighborAttention):
            names[module] = name or type(module).__name__
    if not names:
        raise InputError(
            f"model {type(model).__name__} has no layer that chooses neighbours;"
            " build it with ConvNN2d, ConvNNAttention2d, Branching2d or MultiheadConvNNAttention"
        )
    choosing = {module: name for module, name in names.items() if type(module) is not MultiheadAttention}
    return choosing or names


def _choices_on_map(name: str, layer: SearchingLayer, x: Tensor) -> LayerNeighbors:
    indices, scores, _ = layer.neighbors(x)
    field = layer.field(x)
    height, width = field.real_size
    scores = torch.ones(indices.shape) if scores is None else scores
    queries, places = field.places(field.queries()).cpu(), field.places(indices[0]).cpu()
    return LayerNeighbors(name, (height, width), queries, places, scores[0].cpu())


def _choices_on_patches(name: str, layer: NeighborAttention, x: Tensor, image: Tensor) -> LayerNeighbors:
    indices, scores, _ = layer.neighbors(x)
    scores = torch.ones(indices.shape) if scores is None else scores
    rows, columns = _patches(x.shape[1], image)
    others = x.shape[1] - rows * columns
    patches = indices[:, others:].transpose(0, 1).flatten(1).cpu() - others
    places = torch.stack([patches // columns, patches % columns], dim=-1).masked_fill(patches[..., None] < 0, -1)
    scores = scores[:, others:].transpose(0, 1).flatten(1).cpu()
    queries = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return LayerNeighbors(name, (rows, columns), queries, places, scores, outside="class token", heads=len(indices))


def _patches(tokens: int, image: Tensor) -> tuple[int, int]:
    """Rows and columns of the largest grid of the image's proportions that the tokens hold."""
    height, width = image.shape[2:]
    unit = gcd(height, width)
    scale = isqrt(tokens // (height // unit * (width // unit)))
    if scale == 0:
        raise InputError(f"{tokens} tokens are no patches of an image of {height}x{width} pixels")
    return height // unit * scale, width // unit * scale


def _contrast(image: Tensor) -> Tensor:
    """Standard deviation around every pixel, (H * W,); above 0 also where nothing changes, so that distance decides."""
    height, width = image.shape[-2:]
    gray = image.detach().cpu().float().reshape(1, -1, height, width).mean(dim=1, keepdim=True)
    radius = max(1, min(height, width) // 16)
    surroundings = F.pad(gray, [radius] * 4, mode="replicate").unfold(2, 2 * radius + 1, 1).unfold(3, 2 * radius + 1, 1)
    contrast = surroundings.flatten(4).std(dim=-1).flatten()
    return contrast + 0.1 * contrast.mean() + 1e-6
