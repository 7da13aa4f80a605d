"""Normalisation of Gram triples, and their averages over branches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_choice
from convnn.learners.deep.gram import Gram

INDUCING = ("none", "global", "local")
POINTS = (*INDUCING, "location", "image")


class GramNorm(nn.Module):
    r"""Inner products of points that are divided by their size, and multiplied with learned ones.

    .. math:: K_{ii} \, a a^T, \quad t_i \, a \, b, \quad t \, b^2, \qquad a = s_i / n_i, \quad b = s_t / n_t

    where :math:`n^2` is 1 ("none"), the mean over all points or inducing points ("global"), over the points of a batch
    at each pixel ("location"), over the pixels of each image ("image"), or each point's own inner product ("local").
    The scales s are 1 at first: one number ("global"), one for each inducing point ("local") or pixel ("location").

    Statistics are those of the batch, in training and afterwards: with points "global" or "location" a prediction
    depends on the other images of its batch.

    Args:
        inducing: how inducing points are divided: "none", "global" or "local".
        points: how points are: one of these, "location" or "image".
        inducing_scale: "none", "global" or "local".
        point_scale: "none", "global" or "location".
        count: inducing points, for a local scale.
        size: (H, W) of the map, for a scale of locations.

    Raises:
        InputError: there is no such word, or its count or size is missing.

    Reference:
        Milsom, Anson and Aitchison, "Convolutional deep kernel machines", arXiv 2309.09814.
    """

    def __init__(
        self,
        inducing: str = "global",
        points: str = "global",
        inducing_scale: str = "global",
        point_scale: str = "global",
        *,
        count: int | None = None,
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_choice("inducing", inducing, INDUCING)
        check_choice("points", points, POINTS)
        check_choice("inducing_scale", inducing_scale, INDUCING)
        check_choice("point_scale", point_scale, ("none", "global", "location"))
        if inducing_scale == "local" and count is None:
            raise InputError("count=None must be the number of inducing points for inducing_scale='local'")
        if point_scale == "location" and size is None:
            raise InputError("size=None must be (H, W), that of the map, for point_scale='location'")
        self.inducing, self.points = inducing, points
        shape = {"global": (), "local": (count or 0,), "location": tuple(size or ())}
        self.inducing_scale = _logarithm(shape.get(inducing_scale))
        self.point_scale = _logarithm(shape.get(point_scale))

    def forward(self, gram: Gram) -> Gram:
        """Return the triple of normalised points.

        Raises:
            InputError: the map has another size than the scale of locations, or there are more inducing points.
        """
        a = _scale(self.inducing_scale, gram.ii.shape[:1], "count") * self._inverse(self.inducing, gram.ii.diagonal())
        b = _scale(self.point_scale, gram.t.shape[1:], "size") * self._inverse(self.points, gram.t)
        ti = gram.ti * a * b.expand_as(gram.t)[..., None]
        return Gram(gram.ii * a.outer(a), ti, gram.t * b.square(), gram.cost)

    @staticmethod
    def _inverse(how: str, own: Tensor) -> Tensor:
        """Return 1 / n, for each of points (B, ...) or such that it can be multiplied with them."""
        if how == "global":
            own = own.mean().expand_as(own)
        elif how == "location":
            own = own.mean(0)
        elif how == "image" and own.ndim > 1:
            own = own.mean(tuple(range(1, own.ndim)), keepdim=True)
        return torch.ones_like(own) if how == "none" else own.rsqrt()


def _logarithm(shape: tuple[int, ...] | None) -> nn.Parameter | None:
    """Return the logarithm of a scale that is learned from 1; None is no scale."""
    return None if shape is None else nn.Parameter(torch.zeros(shape))


def _scale(logarithm: Tensor | None, shape: Sequence[int], name: str) -> Tensor:
    """Return a scale that fits points or maps of a shape."""
    if logarithm is None:
        return torch.ones(())
    if logarithm.ndim and logarithm.shape != shape:
        raise InputError(f"{name} of the norm is {tuple(logarithm.shape)}, but {tuple(shape)} come in")
    return logarithm.exp()


class GramSkip(nn.Module):
    """The mean of the triples of several branches: a residual connection, where one is empty.

    Args:
        branches: modules from triple to triple; an empty `nn.Sequential` is the identity.
        weights: of the branches, positive; they are divided by their sum. None is equal weights. The published code
            takes the softmax of its weights instead.

    Raises:
        InputError: there are no branches, or not as many positive weights.
    """

    def __init__(self, branches: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        given = [1.0] * len(branches) if weights is None else list(weights)
        if not branches or len(given) != len(branches) or min(given) <= 0:
            raise InputError(f"weights={weights} must be a positive number for each of {len(branches)} branches")
        self.weights = [weight / sum(given) for weight in given]

    def forward(self, gram: Gram) -> Gram:
        """Return the mean of the branches, which costs what they do together.

        Raises:
            InputError: branches end in triples of different shapes.
        """
        found = [branch(gram._replace(cost=torch.zeros_like(gram.cost))) for branch in self.branches]
        shapes = [tuple(one.ti.shape) for one in found]
        if len(set(shapes)) > 1:
            raise InputError(f"branches end in triples of different shapes, {' and '.join(map(str, shapes))}")
        ii, ti, t = (
            sum(weight * part for weight, part in zip(self.weights, parts, strict=True))
            for parts in zip(*(one[:3] for one in found), strict=True)
        )
        return Gram(ii, ti, t, gram.cost + torch.stack([one.cost for one in found]).sum())
