"""Looking at the layers of a network while it computes: what enters them, and whom they choose."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import gcd, isqrt
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn import Attention, ChoosingLayer, NeighborAttention
from convnn.nn._modes import evaluating
from convnn.words import counted


@dataclass(frozen=True)
class Choices:
    """Whom one layer chose on a batch of images; a layer on maps has one head.

    Attributes:
        size: height and width of the map that was searched, without padding; patches along each side where the layer
            reads tokens.
        queries: (N, 2) int64, row and column of the positions that choose.
        places: (B, heads, N, K, 2) int64, row and column of their neighbours; outside 0 .. size - 1 where a neighbour
            is padding, -1 where it is a token that is no patch.
        scores: (B, heads, N, K), how much each neighbour counts.
        is_filled: (B, heads, N, K) bool, False at slots of a fixed list that nobody fills: there a token weighs 0.
        outside: what lies outside the map, "padding", which has a place, or "class token", which has none.
    """

    size: tuple[int, int]
    queries: Tensor
    places: Tensor
    scores: Tensor
    is_filled: Tensor
    outside: str


OnCall = Callable[[str, nn.Module, Tensor], None]
"""Is told the name of a layer, the layer, and what enters it."""


@contextmanager
def watching(model: nn.Module, on_call: OnCall) -> Iterator[None]:
    """Within the block, the model is in evaluation mode, without gradients, and tells of every call of such a layer.

    Afterwards its hooks and training modes are as before. A compiled model runs as it is written: compiled code knows
    nothing of hooks that came later.

    Raises:
        InputError: no layer of the model chooses neighbours.
    """
    names = choosing_layers(model)

    def tell(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        on_call(names[layer], layer, inputs[0])

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(evaluating(model))
        for layer in names:
            stack.enter_context(layer.register_forward_pre_hook(tell))
        yield


def choosing_layers(model: nn.Module) -> dict[nn.Module, str]:
    """The layers that choose neighbours on 2-d maps or among patches, with their paths in the model.

    Dense attention looks at everybody; it is left out where other layers choose.

    Raises:
        InputError: there is none.
    """
    names: dict[nn.Module, str] = {}
    for name, module in model.named_modules():
        on_map = isinstance(module, ChoosingLayer) and module.spatial_dims == 2
        if on_map or isinstance(module, NeighborAttention):
            names[module] = name or type(module).__name__
    if not names:
        raise InputError(
            f"model {type(model).__name__} has no layer that chooses neighbours;"
            " build it with ConvNN2d, ConvNNAttn2d, Branching2d or ConvNNAttention"
        )
    choosing = {module: name for module, name in names.items() if type(module) is not Attention}
    return choosing or names


def choices_of(layer: nn.Module, x: Tensor, images: Tensor) -> Choices:
    """Whom a layer chooses, given what enters it for a batch of images (B, C, H, W).

    Raises:
        InputError: tokens are no patches of the images.
    """
    if isinstance(layer, ChoosingLayer):
        return _choices_on_map(layer, x)
    if isinstance(layer, NeighborAttention):
        return _choices_on_patches(layer, x, images)
    raise TypeError(f"{type(layer).__name__} does not choose neighbours")


def features_of(layer: nn.Module, x: Tensor, images: Tensor) -> Tensor:
    """What enters a layer at every position of the map that it searches, (B, H * W, C) in raster order.

    Raises:
        InputError: tokens are no patches of the images.
    """
    if isinstance(layer, ChoosingLayer):
        field = layer.field(x)
        return field.at_real(field.features)
    rows, columns = patches(x.shape[1], images)
    return x[:, x.shape[1] - rows * columns :]


def patches(tokens: int, images: Tensor) -> tuple[int, int]:
    """Rows and columns of the largest grid of the images' proportions that the tokens hold.

    Raises:
        InputError: there is none.
    """
    height, width = images.shape[2:]
    unit = gcd(height, width)
    scale = isqrt(tokens // (height // unit * (width // unit)))
    if scale == 0:
        raise InputError(f"{counted(tokens, 'token')} make no patches of an image of {height}x{width} pixels")
    return height // unit * scale, width // unit * scale


def window_side(K: int) -> int:
    """Side of the smallest odd square that holds K places: what a convolution would look at."""
    side = isqrt(K - 1) + 1
    return side + 1 - side % 2


def _choices_on_map(layer: ChoosingLayer, x: Tensor) -> Choices:
    indices, scores, absent = (_with_heads(one, layer.heads) for one in layer.neighbors(x))
    field = layer.field(x)
    height, width = field.real_size
    queries = field.places(field.queries())
    scores = torch.ones(indices.shape, device=indices.device) if scores is None else scores
    is_filled = torch.ones_like(indices, dtype=torch.bool) if absent is None else ~absent  # similarities may be 0
    scores = scores.masked_fill(~is_filled, 0)
    return Choices((height, width), queries, field.places(indices), scores, is_filled, "padding")


def _choices_on_patches(layer: NeighborAttention, x: Tensor, images: Tensor) -> Choices:
    rows, columns = patches(x.shape[1], images)
    others = x.shape[1] - rows * columns
    indices, scores, _ = (_with_heads(one, layer.num_heads, others) for one in layer.neighbors(x))
    scores = torch.ones(indices.shape, device=indices.device) if scores is None else scores
    chosen = indices - others
    places = torch.stack([chosen // columns, chosen % columns], dim=-1).masked_fill(chosen[..., None] < 0, -1)
    queries = torch.cartesian_prod(*(torch.arange(n, device=x.device) for n in (rows, columns))).reshape(-1, 2)
    return Choices((rows, columns), queries, places, scores, scores != 0, "class token")


def _with_heads(one: Tensor | None, heads: int, first: int = 0) -> Any:
    """(B * heads, T, K) as (B, heads, N, K), of the positions from `first` on."""
    return None if one is None else one.unflatten(0, (-1, heads))[:, :, first:]
