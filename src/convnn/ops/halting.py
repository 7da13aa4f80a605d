r"""Random walks that halt by chance, with loads by which sums over them are unbiased for powers of a matrix.

All walks take their t-th step together, in PyTorch: a load needs to know which edge was taken, which the walks of
`convnn.ops.walks` do not say, and memory is that of the steps really made.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.ops.ragged import Lists, check_factors, check_same_nodes
from convnn.ops.walks import Stream, stream_of

Reinforcement = Callable[[int], float]
"""How likely an edge is taken that k earlier steps from the same start took, a positive function of k."""


class Visits(NamedTuple):
    """The nodes that walks pass, in order of steps, the start included.

    Attributes:
        walk: (V,) the number of the walk.
        step: (V,) how many steps it has made.
        node: (V,) where it is.
        load: (V,) float64.
        probability: (V,) with which the last step was chosen among the neighbours; 1 at the start.
    """

    walk: Tensor
    step: Tensor
    node: Tensor
    load: Tensor
    probability: Tensor


class HaltingWalks:
    r"""Walks that halt with probability p before each step, and carry a load.

    .. math:: \ell_0 = 1, \qquad \ell_{t+1} = \ell_t \frac{U_{v_t v_{t+1}}}{q_t (1 - p)}, \qquad
        \mathbb{E} \sum_{\text{walks at } j \text{ after } t \text{ steps}} \ell_t = m\, (U^t)_{ij}

    for m walks from node i, where q is the probability with which the step was chosen: one over the number of
    neighbours, or with a reinforcement f proportional to f(k) of an edge that k earlier steps of all walks from the
    same start took in that direction. The load of an edge is divided by the q really used, hence no bias.

    The numbers of a stream are read walk by walk: a halting number, then a direction, and so on; a walk ends with a
    halting number of at most p. A direction r takes the first neighbour for which the running sum of probabilities
    exceeds r. With `antithetic`, two walks share their halting numbers h, of which the second reads (h + 1/2) mod 1,
    and are given a direction each, until both have halted.

    Args:
        lists: the neighbours of N nodes among themselves.
        values: (E,) entries of U in the order of the lists.
        p_halt: p, above 0 and below 1.
        antithetic: whether walks halt in pairs, one early if the other goes far.
        reinforcement: f, or None for equal probabilities. Takes memory and time in proportion to the largest degree.
        max_length: the most steps, beyond which a walk only seems to go on; None for no bound.

    Raises:
        InputError: lists are not of nodes among themselves, values do not fit, or an argument is out of range; in
            calls, antithetic walks are not even in number, or the reinforcement is not positive.

    Reference:
        Choromanski, "Taming graph kernels with random features", arXiv 2305.00156; Reid et al., "Quasi-Monte Carlo
        graph random features", arXiv 2305.12470, for antithetic ends.
    """

    def __init__(
        self,
        lists: Lists,
        values: Tensor,
        *,
        p_halt: float = 0.1,
        antithetic: bool = False,
        reinforcement: Reinforcement | None = None,
        max_length: int | None = None,
    ) -> None:
        check_halting(p_halt)
        if max_length is not None:
            check_at_least("max_length", max_length, 0)
        check_same_nodes(lists)
        check_factors("values", values, lists.indices.shape[0], "neighbour")
        self.lists = lists
        self.degrees = lists.lengths
        self.values = values.double()
        self.p_halt = p_halt
        self.antithetic = antithetic
        self.reinforcement = reinforcement
        self.max_length = max_length

    def __call__(self, nodes: Tensor, walks: int, numbers: Stream | int = 0) -> Visits:
        """Return the visits of `walks` walks from each of the nodes (S,); walk w starts at node w // walks."""
        check_at_least("walks", walks, 1)
        if self.antithetic and walks % 2:
            raise InputError(f"walks={walks} must be even, since antithetic walks come in pairs")
        starts = nodes.repeat_interleave(walks)
        plan = _plan(stream_of(numbers), starts.shape[0], self.p_halt, 2 if self.antithetic else 1)
        lengths = plan.lengths.masked_fill(self.degrees[starts] == 0, 0)
        if self.max_length is not None:
            lengths = lengths.clamp_max(self.max_length)
        every = torch.arange(starts.shape[0])
        if self.reinforcement is None:
            return self._walk(every, starts, lengths, plan, self._uniform)
        earlier = _Earlier(nodes.shape[0], self.reinforcement)
        rounds = []
        for first in range(walks):  # one walk of each start at a time: it depends on those before
            some = every[first::walks]
            rounds.append(
                self._walk(some, starts[some], lengths[some], plan, lambda *step: self._reinforced(earlier, *step))
            )
        return Visits(*(torch.cat(each) for each in zip(*rounds, strict=True)))

    def _walk(self, walks: Tensor, at: Tensor, lengths: Tensor, plan: "_Plan", choose: "_Choose") -> Visits:
        """Walk from nodes (W,), longest walks first, so that those that still go on are the first ones."""
        order = lengths.argsort(descending=True, stable=True)
        going = (order.shape[0] - lengths.bincount().cumsum(0)).tolist()  # walks of more than t steps
        walks, at = walks[order], at[order]
        first, owners, load = plan.first[walks], order, torch.ones(at.shape[0], dtype=torch.float64)
        visits = [Visits(walks, torch.zeros_like(walks), at, load, load)]
        for step, count in enumerate(going[:-1]):
            walks, at, load, first = walks[:count], at[:count], load[:count], first[:count]
            edges, q = choose(owners[:count], at, plan.numbers[first + plan.stride * step])
            at, load = self.lists.indices[edges], load * self.values[edges] / (q * (1 - self.p_halt))
            visits.append(Visits(walks, torch.full_like(walks, step + 1), at, load, q))
        return Visits(*(torch.cat(each) for each in zip(*visits, strict=True)))

    def _uniform(self, _: Tensor, at: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        degrees = self.degrees[at]
        return self.lists.starts[at] + (number * degrees).long(), 1 / degrees.double()

    def _reinforced(self, earlier: "_Earlier", owners: Tensor, at: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        degrees = self.degrees[at].unsqueeze(1)
        places = torch.arange(int(degrees.max()))
        edges = self.lists.starts[at].unsqueeze(1) + places
        weights = earlier.weights(owners, edges).masked_fill(places >= degrees, 0)
        shares = weights / weights.sum(1, keepdim=True)
        place = (shares.cumsum(1) <= number.unsqueeze(1)).sum(1, keepdim=True).minimum(degrees - 1)
        chosen = edges.gather(1, place).squeeze(1)
        earlier.add(owners, chosen)
        return chosen, shares.gather(1, place).squeeze(1)


_Choose = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Returns for walks with their starts' numbers, nodes and directions the edges taken, and how likely they were."""


class _Earlier:
    """The edges that earlier walks from each of S starts took."""

    def __init__(self, starts: int, reinforcement: Reinforcement) -> None:
        self.reinforcement = reinforcement
        self.edges = torch.full((starts, 0), -1)
        self.counts = torch.zeros(starts, dtype=torch.long)

    def weights(self, owners: Tensor, edges: Tensor) -> Tensor:
        """Return f (W, D) of how often the start of each walk took each of the edges."""
        counts = (self.edges[owners].unsqueeze(1) == edges.unsqueeze(2)).sum(2)
        found = [float(self.reinforcement(k)) for k in range(int(counts.max()) + 1)]
        for k, weight in enumerate(found):
            if not 0 < weight < math.inf:
                raise InputError(f"reinforcement({k}) is {weight}, and must be positive")
        return torch.tensor(found, dtype=torch.float64)[counts]

    def add(self, owners: Tensor, edges: Tensor) -> None:
        places = self.counts[owners]
        if int(places.max()) >= self.edges.shape[1]:
            more = max(self.edges.shape[1], 8)
            self.edges = torch.nn.functional.pad(self.edges, (0, more), value=-1)
        self.edges[owners, places] = edges
        self.counts[owners] += 1


class _Plan(NamedTuple):
    """How long walks (W,) are, and where in the numbers their first direction is; the others follow by strides."""

    numbers: Tensor
    first: Tensor
    lengths: Tensor
    stride: int


def _plan(stream: Stream, walks: int, p: float, together: int) -> _Plan:
    """Take from a stream the numbers of walks, `together` of which share their halting numbers."""
    stride, groups = together + 1, walks // together
    count = 64 + math.ceil(1.1 * groups * (1 + stride * (1 - p) / p))
    while True:
        numbers = stream.peek_uniform(count)
        if numbers.numel() and not 0 <= float(numbers.min()) <= float(numbers.max()) < 1:
            raise InputError("numbers must be at least 0 and below 1")
        halts = [_next_true((numbers + walk / 2) % 1 <= p, stride) for walk in range(together)]
        last = halts[0] if together == 1 else torch.maximum(*halts)
        starts = _follow(last, groups)
        if len(starts) > groups:
            break
        if numbers.shape[0] < count:
            raise InputError(f"numbers end after {numbers.shape[0]}, in walk {(len(starts) - 1) * together} of {walks}")
        count *= 2
    stream.position += starts[-1]
    first = torch.tensor(starts[:-1], dtype=torch.long)
    lengths = torch.stack([(ends[first] - first) // stride for ends in halts], 1)
    return _Plan(numbers, (first.unsqueeze(1) + 1 + torch.arange(together)).flatten(), lengths.flatten(), stride)


def _next_true(is_true: Tensor, stride: int) -> Tensor:
    """Return for each place (n,) the first one that is true at 0, 1, ... strides from it; n or more if none is."""
    count = is_true.shape[0]
    places = torch.where(is_true, torch.arange(count), count)
    rows = torch.nn.functional.pad(places, (0, -count % stride), value=count).view(-1, stride)
    return rows.flip(0).cummin(0).values.flip(0).flatten()[:count]


def _follow(last: Tensor, groups: int) -> list[int]:
    """Return where groups of walks start, each after the last number of the one before, and where the last one ends.

    There are fewer if the numbers end before.
    """
    ends, starts = last.numpy(), [0]
    while len(starts) <= groups and starts[-1] < ends.shape[0] and (end := int(ends[starts[-1]])) < ends.shape[0]:
        starts.append(end + 1)
    return starts


def check_halting(p: float) -> None:
    """Refuse a probability of halting with which a walk has no length, or no end."""
    if not (hasattr(p, "__float__") and 0 < p < 1):
        raise InputError(f"p_halt={p!r} must be above 0 and below 1")
