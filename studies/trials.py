"""Layers that were tried in the place of a convolution and are not part of the package; trials.toml trains them.

`convnn sweep studies/trials.toml --set data_path=./Data/cifar10` imports this file. Each layer has as many weights as a
3 x 3 convolution, and few numbers beside them: gates, temperatures, thin projections; the last two differ in K.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn import ConvNN2d, ConvNNPos2d, Grid, register_layer
from convnn.nn._field import Field
from convnn.nn._search import under_windows
from convnn.ops import Neighbors, aggregate, select, weigh

SIDE, REACH = 3, 1
WIDTH = 16
"""Channels of the learned projections."""
MOST_POSITIONS = 16 * 16
"""Larger maps are not searched by the layers that look at the whole map: their first convolution sees only colours."""


class Trial(nn.Module):
    """For each slot, `pick` combines its places into one vector; the kernel follows."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.kernel = nn.Conv1d(in_channels, out_channels, SIDE**2)

    def forward(self, x: Tensor) -> Tensor:
        field = _field(x)
        places, rows = _places(field), field.features
        queries, keys = self.compared(rows)
        scores = (field.at_queries(queries)[:, :, None, None] * keys[:, places]).sum(-1)
        picked = self.pick(scores, field.at_queries(rows)[:, :, None], rows[:, places])
        out = self.kernel(picked.flatten(0, 1).mT)
        return field.to_map(out.squeeze(-1).unflatten(0, scores.shape[:2]))

    def compared(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, T, C) to the queries and keys whose inner products are the scores."""
        return rows, rows

    def pick(self, scores: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """From (B, N, slots, places), (B, N, 1, C) and (B, N, slots, places, C) to (B, N, slots, C)."""
        raise NotImplementedError


class Soft(Trial):
    """A softmax over the places of a slot, by inner product, with a learned temperature."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.warmth = nn.Parameter(torch.zeros(SIDE**2))

    def pick(self, scores: Tensor, here: Tensor, there: Tensor) -> Tensor:
        return (self.shares(scores) * there).sum(3)

    def shares(self, scores: Tensor) -> Tensor:
        return (scores * self.warmth.exp()[:, None]).softmax(-1).unsqueeze(-1)


class Placed(Soft):
    """By cosine, with a learned head start of a slot's own place: a learned lambda. It begins near a convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.head_start = nn.Parameter(torch.full((SIDE**2, 1), 4.0))
        own = (torch.arange(SIDE)[:, None] + REACH) * (SIDE + 2 * REACH) + torch.arange(SIDE) + REACH
        self.is_own = (select.sectors((SIDE, SIDE), REACH) == own.flatten()[:, None]).float()

    def compared(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        rows = F.normalize(rows, dim=-1)
        return rows, rows

    def shares(self, scores: Tensor) -> Tensor:
        return super().shares(scores + self.head_start * self.is_own)


class Projected(Soft):
    """A softmax with learned projections: attention within each direction."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.query = nn.Linear(in_channels, WIDTH, bias=False)
        self.key = nn.Linear(in_channels, WIDTH, bias=False)

    def compared(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.query(rows) / WIDTH**0.5, self.key(rows)


class StraightThrough(Projected):
    """One place by learned projections; the gradient is that of the softmax."""

    def pick(self, scores: Tensor, here: Tensor, there: Tensor) -> Tensor:
        shares = self.shares(scores)
        hard = F.one_hot(shares.squeeze(-1).argmax(-1), shares.shape[3]).unsqueeze(-1).to(shares)
        return ((hard + shares - shares.detach()) * there).sum(3)


class Differences(Trial):
    """One place by inner product; its value is its difference from the position."""

    def pick(self, scores: Tensor, here: Tensor, there: Tensor) -> Tensor:
        chosen = scores.argmax(-1)[..., None, None].expand(-1, -1, -1, 1, there.shape[-1])
        outer = (torch.arange(SIDE**2) != SIDE**2 // 2).unsqueeze(-1)
        return there.gather(3, chosen).squeeze(3) - here * outer


class SideBySide(nn.Module):
    """Layers that compute equal shares of the channels."""

    def __init__(self, out_channels: int, *makers: Callable[[int], nn.Module]) -> None:
        super().__init__()
        each = out_channels // len(makers)
        sizes = [out_channels - each * (len(makers) - 1)] + [each] * (len(makers) - 1)
        self.parts = nn.ModuleList(make(size) for make, size in zip(makers, sizes, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


class Gated(nn.Module):
    """A convolution whose slots may leave their own place for a chosen one: by a gate for each, which begins at 0."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, SIDE, padding=1)
        self.gate = nn.Parameter(torch.zeros(in_channels, SIDE, SIDE))

    def forward(self, x: Tensor) -> Tensor:
        field, weight = _field(x), self.conv.weight
        chosen = aggregate.convolve(field.features, self.choose(field), (weight * self.gate).flatten(2))
        return F.conv2d(x, weight * (1 - self.gate), self.conv.bias, padding=1) + field.to_map(chosen)

    def choose(self, field: Field) -> Neighbors:
        """The place of each slot that is most similar to the position, by cosine."""
        queries = field.at_queries(field.features)
        return select.one_of_each(queries, field.features, _places(field), metric="cosine")


class GatedUnlike(Gated):
    """The same with the least similar place."""

    def choose(self, field: Field) -> Neighbors:
        queries = field.at_queries(field.features)
        return select.one_of_each(queries, field.features, _places(field), metric="cosine", unlike=True)


class GatedFixed(Gated):
    """The control: the same with the farthest place of each slot, whatever it holds."""

    def choose(self, field: Field) -> Neighbors:
        farthest = torch.tensor([0, 0, 1, 0, 0, 1, 2, 1, 3])  # in the lists of `select.sectors`
        places = _places(field)[:, torch.arange(SIDE**2), farthest]
        return Neighbors(places.unsqueeze(0)).for_each_of(field.features.shape[0])


class Far(nn.Module):
    """A convolution of x + gate * far(x), where `far` is what the rest of the map adds; the gate begins at 0."""

    def __init__(self, in_channels: int, out_channels: int, K: int = 9) -> None:
        super().__init__()
        self.K = K
        self.conv = nn.Conv2d(in_channels, out_channels, SIDE, padding=1)
        self.gate = nn.Parameter(torch.zeros(in_channels))

    def forward(self, x: Tensor) -> Tensor:
        if not 1 < x.shape[2:].numel() <= MOST_POSITIONS:
            return self.conv(x)
        rows = x.flatten(2).mT.contiguous()
        return self.conv(x + (self.gate * self.far(rows)).mT.unflatten(2, x.shape[2:]))

    def far(self, rows: Tensor) -> Tensor:
        """From (B, T, C) to (B, T, C): the mean of the K most similar others, by cosine, less the position itself."""
        return gather_mean(rows, self.others(rows, rows)) - rows

    def others(self, queries: Tensor, keys: Tensor, metric: str = "cosine") -> Neighbors:
        count = keys.shape[1]
        near = select.nearest(
            queries, keys, min(self.K + 1, count), metric=metric, positions=torch.arange(count, device=keys.device)
        )
        return Neighbors(near.indices[..., 1:])


class FarMax(Far):
    """In every channel the largest difference of the K most similar others from the position, as in Vision GNN."""

    def far(self, rows: Tensor) -> Tensor:
        return aggregate.maximum(rows, self.others(rows, rows), rows)


class FarUnlike(Far):
    """The mean of the K least similar."""

    def far(self, rows: Tensor) -> Tensor:
        return gather_mean(rows, self.others(-rows, rows)) - rows


class FarProjected(Far):
    """The K best by learned projections, weighed by their softmax, through which the projections learn."""

    def __init__(self, in_channels: int, out_channels: int, K: int = 9) -> None:
        super().__init__(in_channels, out_channels, K)
        self.query = nn.Linear(in_channels, WIDTH, bias=False)
        self.key = nn.Linear(in_channels, WIDTH, bias=False)

    def far(self, rows: Tensor) -> Tensor:
        queries, keys = self.query(rows) / WIDTH**0.5, self.key(rows)
        scores = weigh.similarity(self.others(queries, keys, "matmul"), queries, keys, metric="matmul")
        return aggregate.weighted_sum(rows, weigh.softmax(scores)) - rows


class FarFixed(Far):
    """The control: the mean of K others that are drawn once for each position, whatever they hold."""

    def others(self, queries: Tensor, keys: Tensor, metric: str = "cosine") -> Neighbors:
        count = keys.shape[1]
        steps = torch.randperm(count - 1, generator=torch.Generator().manual_seed(count))[: self.K] + 1
        places = (torch.arange(count)[:, None] + steps) % count
        return Neighbors(places.unsqueeze(0).to(keys.device)).for_each_of(keys.shape[0])


class FarAll(Far):
    """The control: the mean of the whole map."""

    def far(self, rows: Tensor) -> Tensor:
        return rows.mean(1, keepdim=True) - rows


def gather_mean(rows: Tensor, neighbors: Neighbors) -> Tensor:
    """Return the mean of the neighbours, (B, N, C)."""
    return aggregate.weighted_sum(rows, neighbors) / neighbors.K


def _field(x: Tensor) -> Field:
    return Field.of(x, Grid(SIDE, padding="same").widened((SIDE, SIDE), REACH))


def _places(field: Field) -> Tensor:
    """Return the places of every slot of every position, (N, slots, places)."""
    return under_windows(field).squeeze(0)[:, select.sectors((SIDE, SIDE), REACH)]


def _beside_convolution(trial: type[Trial]) -> Callable[[int, int], nn.Module]:
    return lambda i, o: SideBySide(o, lambda n: nn.Conv2d(i, n, SIDE, padding=1), lambda n: trial(i, n))


def _like_and_unlike(i: int, o: int) -> nn.Module:
    choosing = {"choosing": 1.0, "reach": REACH, "metric": "cosine"}
    return SideBySide(
        o,
        lambda n: nn.Conv2d(i, n, SIDE, padding=1),
        lambda n: ConvNNPos2d(i, n, kernel_size=SIDE, prefer="like", **choosing),
        lambda n: ConvNNPos2d(i, n, kernel_size=SIDE, prefer="unlike", **choosing),
    )


def _of_depth(K_by_channels: dict[int, int]) -> Callable[[int, int], nn.Module]:
    """ConvNN whose K depends on the depth, told by the input channels of VGG at an eighth of its width."""
    return lambda i, o: ConvNN2d(i, o, K=K_by_channels[i])


TRIALS: dict[str, tuple[Callable[[int, int], nn.Module], str]] = {
    "HalfSoft": (_beside_convolution(Soft), "half of the channels: a softmax over the places of each slot"),
    "HalfProjected": (_beside_convolution(Projected), "half: the same with learned projections"),
    "HalfStraightThrough": (_beside_convolution(StraightThrough), "half: one place, with the softmax's gradient"),
    "HalfDifferences": (_beside_convolution(Differences), "half: one place, less the position"),
    "LikeAndUnlike": (_like_and_unlike, "a third each: own places, most like, most unlike"),
    "Placed": (Placed, "all channels: a softmax in which a slot's own place has a learned head start"),
    "Gated": (Gated, "a convolution whose slots move to the most similar place as far as learned gates let them"),
    "GatedUnlike": (GatedUnlike, "the same, to the least similar place"),
    "GatedFixed": (GatedFixed, "the same, to the farthest place: the control"),
    "Far": (Far, "a convolution of each position and the mean of the 9 most similar, by learned gates"),
    "FarMax": (FarMax, "the same with the largest difference in each channel"),
    "FarUnlike": (FarUnlike, "the same with the 9 least similar"),
    "FarProjected": (FarProjected, "the same with the 9 best by learned projections"),
    "FarFixed": (FarFixed, "the same with 9 fixed places: a control"),
    "FarAll": (FarAll, "the same with the mean of the map: a control"),
    "GrowingK": (_of_depth({3: 4, 8: 6, 16: 9, 32: 9, 64: 12}), "ConvNN with K from 4 to 12"),
    "ShrinkingK": (_of_depth({3: 16, 8: 12, 16: 9, 32: 9, 64: 4}), "ConvNN with K from 16 to 4"),
}

for _name, (_make, _summary) in TRIALS.items():
    register_layer(_name, _make, _summary)
