"""The neighbours that every layer of a network chooses for an image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.viz.choices import choices_of, watching, window_side
from convnn.words import counted


@dataclass(frozen=True)
class LayerNeighbors:
    """The choices of one layer on one image.

    Attributes:
        name: path of the layer in its model, such as "features.0.branch1"; its class name if it is the model itself.
        size: height and width of the searched map, without padding; smaller than the layer's input if pixels are
            unshuffled; patches along each side for a layer on tokens.
        queries: (N, 2) int64, row and column on that map of the query positions: all in raster order, or fewer.
        places: (N, K, 2) int64, row and column of each query's neighbours on that map; outside 0 .. size - 1 for
            padding and for tokens that are not patches. With several heads, K / heads from each head in turn.
        scores: (N, K) weight of each neighbour, larger is more; comparable within one layer only.
        outside: what lies outside the map, "padding" or "class token".
        heads: number of heads that choose independently.
        gone: (G, 2) the patches that have left; then the queries are those that leave now, and their neighbours those
            that receive their features; the place of the query itself where nobody does.
    """

    name: str
    size: tuple[int, int]
    queries: Tensor
    places: Tensor
    scores: Tensor
    outside: str = "padding"
    heads: int = 1
    gone: Tensor | None = None

    @property
    def window(self) -> int:
        """Side of the smallest odd square window for the neighbours of one head, as a convolution would have."""
        return window_side(self.places.shape[1] // self.heads)

    def query_at(self, pixel: tuple[int, int], image_size: tuple[int, int]) -> int:
        """Return the first query nearest to a pixel of an image of this height and width, from centre to centre."""
        rows, columns = (
            (2 * queries + 1) * side - (2 * p + 1) * n  # 2 n times the distance in pixels, a whole number
            for queries, p, side, n in zip(self.queries.double().T, pixel, image_size, self.size, strict=True)
        )
        height, width = self.size
        return int(((rows * width).square() + (columns * height).square()).argmin())


def best_first(scores: Tensor) -> Tensor:
    """Return the indices that sort scores along the last axis: highest first, equal scores in order, NaN last."""
    return scores.masked_fill(scores.isnan(), -torch.inf).argsort(dim=-1, descending=True, stable=True)


def find_neighbors(model: nn.Module, image: Tensor) -> list[LayerNeighbors]:
    """Find the neighbours that every layer on 2-d maps or on patches chooses for one image.

    The model runs in evaluation mode, without gradients. Dense attention, to which every position is a neighbour, is
    only included if no other layer chooses.

    Args:
        model: a network with such layers; its hooks and training modes are restored afterwards. Tokens must be the
            patches of the image, row by row, after any number of other tokens.
        image: (1, C, H, W), on the device of the model and prepared as for training.

    Returns:
        One entry for each call of such a layer, in order of execution, on the CPU.

    Raises:
        InputError: the model has no such layer, the image is not a batch of one, or tokens are not its patches.

    Example:
        >>> from convnn.nn import ConvNN2d
        >>> [layer] = find_neighbors(ConvNN2d(3, 8, K=5), torch.rand(1, 3, 6, 4))
        >>> layer.size, tuple(layer.places.shape)
        ((6, 4), (24, 5, 2))
    """
    if image.dim() != 4 or len(image) != 1:
        raise InputError(f"image of shape {tuple(image.shape)} must be one image (1, C, H, W)")
    found: list[LayerNeighbors] = []

    def record(name: str, layer: nn.Module, x: Tensor) -> None:
        choices = choices_of(layer, x, image)
        places, scores = (t[0].transpose(0, 1).flatten(1, 2).cpu() for t in (choices.places, choices.scores))
        queries, heads = choices.queries.cpu(), choices.places.shape[1]
        found.append(LayerNeighbors(name, choices.size, queries, places, scores, choices.outside, heads))

    with watching(model, record):
        model(image)
    return found


def choose_queries(image: Tensor, n: int) -> list[tuple[int, int]]:
    """Choose a few informative query pixels: where the image changes, and far from each other.

    Each has the highest product of the root of the contrast and the distance to the border and to earlier pixels.

    Args:
        image: (C, H, W) or (1, C, H, W).
        n: number of pixels, 1 to H * W.

    Returns:
        Row and column of n different pixels, deterministic for an image.

    Raises:
        InputError: n is out of range.
    """
    height, width = image.shape[-2:]
    check_at_least("n", n, 1)
    if n > height * width:
        raise InputError(f"n={n} is more than the {counted(height * width, 'pixel')} of a {height}x{width} image")
    contrast = _contrast(image).sqrt()
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
    distance = torch.cat([pixels + 1, torch.tensor([height, width]) - pixels], dim=1).amin(dim=1)
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int((contrast * distance).argmax()))
        distance = distance.minimum((pixels - pixels[chosen[-1]]).norm(dim=1))
    return [divmod(index, width) for index in chosen]


def _contrast(image: Tensor) -> Tensor:
    """Return the standard deviation around every pixel, (H * W,); positive in flat areas, so that distance decides."""
    height, width = image.shape[-2:]
    gray = image.detach().cpu().float().reshape(1, -1, height, width).mean(dim=1, keepdim=True)
    radius = max(1, min(height, width) // 16)
    surroundings = F.pad(gray, [radius] * 4, mode="replicate").unfold(2, 2 * radius + 1, 1).unfold(3, 2 * radius + 1, 1)
    contrast = surroundings.flatten(4).std(dim=-1).flatten()
    return contrast + 0.1 * contrast.mean() + 1e-6
