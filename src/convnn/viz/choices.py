"""Observation of the layers of a running network: their inputs and the neighbours that they choose."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import gcd, isqrt
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn import Attention, ChoosingLayer, NeighborAttention, ReducedBlocks, Search
from convnn.nn._cost import without_warning
from convnn.nn._modes import evaluating
from convnn.words import counted


@dataclass(frozen=True)
class Choices:
    """The neighbours that one layer chose on a batch of images; a layer on maps has one head.

    Attributes:
        size: height and width of the searched map, without padding; patches along each side for a layer on tokens.
        queries: (N, 2) int64, row and column of the query positions.
        places: (B, heads, N, K, 2) int64, row and column of their neighbours; outside 0 .. size - 1 for padding, -1 for
            a token that is not a patch.
        scores: (B, heads, N, K) weight of each neighbour.
        is_filled: (B, heads, N, K) bool, False at empty slots of a fixed list, whose weight is 0.
        outside: what lies outside the map: "padding", which has a place, or "class token", which has none.
    """

    size: tuple[int, int]
    queries: Tensor
    places: Tensor
    scores: Tensor
    is_filled: Tensor
    outside: str


def is_clustered(layer: nn.Module) -> bool:
    """Return whether a layer searches in clusters."""
    search = getattr(layer, "search", None)
    return isinstance(search, Search) and search.search == "clustered"


@contextmanager
def searching_exactly(layer: Any) -> Iterator[None]:
    """Let a layer that searches in clusters search exactly within the block."""
    clustered = layer.search
    layer.search = replace(clustered, search="exact", recall=Search.recall, probes=Search.probes, lists=Search.lists)
    try:
        with without_warning():
            yield
    finally:
        layer.search = clustered


OnCall = Callable[[str, nn.Module, Tensor], None]
"""A function of the name of a layer, the layer, and its input."""


@contextmanager
def watching(model: nn.Module, on_call: OnCall) -> Iterator[None]:
    """Call a function at every call of a neighbour-choosing layer within the block.

    The model is in evaluation mode, without gradients; hooks and training modes are restored afterwards. A compiled
    model runs in eager mode, because compiled code ignores hooks that are registered later.

    Raises:
        InputError: no layer of the model chooses neighbours.
    """
    names = choosing_layers(model)

    def report(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        on_call(names[layer], layer, inputs[0])

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(evaluating(model))
        for layer in names:
            stack.enter_context(layer.register_forward_pre_hook(report))
        yield


def choosing_layers(model: nn.Module) -> dict[nn.Module, str]:
    """Return the layers that choose neighbours on 2-d maps or among patches, with their paths in the model.

    Dense attention, to which every position is a neighbour, is only included if no other layer chooses.

    Raises:
        InputError: the model has no such layer, or those it has read fewer and fewer tokens.
    """
    names: dict[nn.Module, str] = {}
    reduced = [f"{name}." for name, module in model.named_modules() if isinstance(module, ReducedBlocks)]
    for name, module in model.named_modules():
        if name.startswith(tuple(reduced)):
            continue
        on_map = isinstance(module, ChoosingLayer) and module.spatial_dims == 2
        if on_map or isinstance(module, NeighborAttention):
            names[module] = name or type(module).__name__
    if not names and reduced:
        raise InputError(
            f"tokens leave {type(model).__name__} from block to block, so that its layers have no map to choose on;"
            " `find_leaving` finds which"
        )
    if not names:
        raise InputError(
            f"model {type(model).__name__} has no layer that chooses neighbours;"
            " build it with ConvNN2d, ConvNNAttn2d, Branching2d or ConvNNAttention"
        )
    choosing = {module: name for module, name in names.items() if type(module) is not Attention}
    return choosing or names


def choices_of(layer: nn.Module, x: Tensor, images: Tensor) -> Choices:
    """Return the choices of a layer, given its input for a batch of images (B, C, H, W).

    Raises:
        InputError: the tokens are not patches of the images.
    """
    if isinstance(layer, ChoosingLayer):
        return _choices_on_map(layer, x)
    if isinstance(layer, NeighborAttention):
        return _choices_on_patches(layer, x, images)
    raise TypeError(f"{type(layer).__name__} does not choose neighbours")


def features_of(layer: nn.Module, x: Tensor, images: Tensor) -> Tensor:
    """Return the input of a layer at every position of the searched map, (B, H * W, C) in raster order.

    Raises:
        InputError: the tokens are not patches of the images.
    """
    if isinstance(layer, ChoosingLayer):
        field = layer.field(x)
        return field.at_real(field.features)
    rows, columns = patches(x.shape[1], images)
    return x[:, x.shape[1] - rows * columns :]


def patches(tokens: int, images: Tensor) -> tuple[int, int]:
    """Return rows and columns of the largest grid of patches with the images' proportions that fits the tokens.

    Raises:
        InputError: there is no such grid.
    """
    height, width = images.shape[2:]
    unit = gcd(height, width)
    scale = isqrt(tokens // (height // unit * (width // unit)))
    if scale == 0:
        raise InputError(f"{counted(tokens, 'token')} cannot be the patches of an image of {height}x{width} pixels")
    return height // unit * scale, width // unit * scale


def window_side(K: int) -> int:
    """Return the side of the smallest odd square window with at least K places, as a convolution would have."""
    side = isqrt(K - 1) + 1
    return side + 1 - side % 2


def _choices_on_map(layer: ChoosingLayer, x: Tensor) -> Choices:
    indices, scores, absent = (_split_heads(tensor, layer.heads) for tensor in layer.neighbors(x))
    field = layer.field(x)
    height, width = field.real_size
    queries = field.places(field.queries())
    scores = torch.ones(indices.shape, device=indices.device) if scores is None else scores
    # From the mask of absent slots, because a weight of 0 may also be a similarity.
    is_filled = torch.ones_like(indices, dtype=torch.bool) if absent is None else ~absent
    scores = scores.masked_fill(~is_filled, 0)
    return Choices((height, width), queries, field.places(indices), scores, is_filled, "padding")


def _choices_on_patches(layer: NeighborAttention, x: Tensor, images: Tensor) -> Choices:
    rows, columns = patches(x.shape[1], images)
    first = x.shape[1] - rows * columns  # patches follow the other tokens
    indices, scores, _ = (_split_heads(tensor, layer.num_heads, first) for tensor in layer.neighbors(x))
    scores = torch.ones(indices.shape, device=indices.device) if scores is None else scores
    patch = indices - first
    places = torch.stack([patch // columns, patch % columns], dim=-1).masked_fill(patch[..., None] < 0, -1)
    queries = torch.cartesian_prod(*(torch.arange(n, device=x.device) for n in (rows, columns))).reshape(-1, 2)
    return Choices((rows, columns), queries, places, scores, scores != 0, "class token")


def _split_heads(tensor: Tensor | None, heads: int, first: int = 0) -> Any:
    """Reshape (B * heads, T, K) to (B, heads, N, K), for the positions from `first` on."""
    return None if tensor is None else tensor.unflatten(0, (-1, heads))[:, :, first:]
