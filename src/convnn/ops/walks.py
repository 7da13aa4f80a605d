r"""Random walks on lists of any length: who comes next is drawn, step by step.

Every draw takes one number of a stream, so that the walks of published code can be repeated from its recorded numbers,
and seeded walks are the same bits on any number of threads and in any backend.
"""

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from convnn.backends._walks import second_order_weights
from convnn.backends.request import Request
from convnn.errors import InputError, check_at_least, check_positive
from convnn.ops._dispatch import find_kernels
from convnn.ops.ragged import Lists, check_same_nodes


class Stream:
    """The numbers of SplitMix64 with a seed, each of which follows from the seed and its place alone.

    Attributes:
        seed: of which the last 64 bits count.
        position: the place of the next number.

    Reference:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """

    _AHEAD = 4096

    def __init__(self, seed: int = 0, position: int = 0) -> None:
        self.seed = seed
        self.position = position
        self._read: tuple[int, list[int]] = (0, [])

    def integers(self, *size: int) -> Tensor:
        """Return the next numbers as integers from 0 to 2^63 - 1, int64 of the given size."""
        return (self._take(size) >> 1) & ((1 << 63) - 1)

    def uniform(self, *size: int) -> Tensor:
        """Return the next numbers in [0, 1), float64 of the given size."""
        return ((self._take(size) >> 11) & ((1 << 53) - 1)).double() * 2.0**-53

    def integer(self) -> int:
        """Return the next number as `integers` does."""
        first, numbers = self._read
        if not 0 <= self.position - first < len(numbers):
            first, numbers = self.position, Stream(self.seed, self.position).integers(self._AHEAD).tolist()
            self._read = first, numbers
        self.position += 1
        return numbers[self.position - 1 - first]

    def peek(self, count: int) -> Tensor:
        """Return the next integers without taking them, as many as there are up to `count`."""
        position = self.position
        numbers = self.integers(count)
        self.position = position
        return numbers

    def peek_uniform(self, count: int) -> Tensor:
        """Return the next numbers in [0, 1) without taking them, as many as there are up to `count`."""
        position = self.position
        numbers = self.uniform(count)
        self.position = position
        return numbers

    def _take(self, size: tuple[int, ...]) -> Tensor:
        count = math.prod(size)
        first, self.position = self.position, self.position + count
        return _kernels(torch.device("cpu"), "auto").random_bits(self.seed, first, count).view(size)


class Recorded(Stream):
    """Recorded numbers of published code, in order of use.

    Args:
        numbers: (n,) int64, or float64 in [0, 1).
        largest: of the integers that can occur; a uniform number is an integer divided by it.
    """

    def __init__(self, numbers: Tensor, largest: int = 2**31 - 1) -> None:
        super().__init__()
        self.numbers = numbers
        self.largest = largest

    def integers(self, *size: int) -> Tensor:
        """Return the next integers.

        Raises:
            InputError: too few numbers are left, or they are no integers.
        """
        if self.numbers.is_floating_point():
            raise InputError("numbers must be int64 for draws of integers")
        return self._take(size)

    def uniform(self, *size: int) -> Tensor:
        """Return the next numbers, integers divided by the largest.

        Raises:
            InputError: too few numbers are left.
        """
        taken = self._take(size)
        return taken if taken.is_floating_point() else taken.double() / self.largest

    def integer(self) -> int:
        """Return the next integer."""
        return int(self.integers(1))

    def peek(self, count: int) -> Tensor:
        """Return the next integers without taking them, as many as there are up to `count`."""
        return self.numbers[self.position : self.position + count]

    def peek_uniform(self, count: int) -> Tensor:
        """Return the next numbers in [0, 1] without taking them, as many as there are up to `count`."""
        return super().peek_uniform(max(min(count, self.numbers.shape[0] - self.position), 0))

    def _take(self, size: tuple[int, ...]) -> Tensor:
        first, self.position = self.position, self.position + math.prod(size)
        if self.position > self.numbers.shape[0]:
            raise InputError(f"numbers end after {self.numbers.shape[0]}, and draw {self.position} was asked for")
        return self.numbers[first : self.position].view(size)


def stream_of(seed: "int | Stream") -> Stream:
    """Return the stream of a seed, or the stream that is given."""
    return seed if isinstance(seed, Stream) else Stream(seed)


class RandomWalks:
    r"""Walks on a graph: each step goes to one of the neighbours of the node, with probability by weight.

    .. math:: P(x \mid v) = \frac{w_{vx}}{\sum_{y \in N_v} w_{vy}}

    Of second order (node2vec), weights also depend on the node u before v: w / p if x = u, w if u is among the
    neighbours of x, and w / q otherwise. A walk stays where there are no neighbours.

    A number r of a stream, in [0, 1), takes the first neighbour, in the order of the list, for which the running sum of
    weights exceeds r times their sum; with equal weights that is neighbour floor(r |N_v|). An integer R takes neighbour
    R mod |N_v|.

    Args:
        lists: the neighbours of N nodes among themselves.
        weights: (E,) weights in the order of the lists, at least 0, or None for equal ones.
        p: how unlikely walks return at once, above 0.
        q: how unlikely they move away, above 0.
        backend: as in `convnn.ops.select.nearest`.

    Raises:
        InputError: lists are not of nodes among themselves, weights do not fit, are negative, not finite or all zero in
            a list, or p or q is not positive.

    Reference:
        Perozzi et al., "DeepWalk", arXiv 1403.6652; Grover and Leskovec, "node2vec", arXiv 1607.00653, section 3.2.
    """

    def __init__(
        self, lists: Lists, weights: Tensor | None = None, *, p: float = 1.0, q: float = 1.0, backend: str = "auto"
    ) -> None:
        check_positive("p", p)
        check_positive("q", q)
        check_same_nodes(lists)
        self.lists = lists
        self.weights = None if weights is None else weights.to(torch.float64)
        self.p = p
        self.q = q
        self._kernels = _kernels(lists.indices.device, backend)
        self._cumulative = None if self.weights is None else self._sums(self.weights)

    @property
    def is_second_order(self) -> bool:
        """Whether the node before counts."""
        return (self.p, self.q) != (1, 1)

    def __call__(self, nodes: Tensor, length: int, numbers: Tensor | Stream | int = 0) -> Tensor:
        """Return walks (W, L + 1) of L steps from nodes (W,).

        Args:
            nodes: (W,) int64.
            length: L, at least 0.
            numbers: what is drawn: (W, L) float64 in [0, 1), int64 of at least 0 if all neighbours are equally likely,
                a stream, or a seed.

        Raises:
            InputError: a node lies outside the graph, or numbers have a wrong shape, type or range.
        """
        check_at_least("length", length, 0)
        if nodes.dim() != 1 or nodes.dtype != torch.long:
            raise InputError(f"nodes of shape {tuple(nodes.shape)} and {nodes.dtype} must be one list of int64")
        if nodes.numel() and not 0 <= int(nodes.min()) <= int(nodes.max()) < self.lists.queries:
            raise InputError(
                f"nodes from {int(nodes.min())} to {int(nodes.max())} must lie between 0 and {self.lists.queries - 1}"
            )
        if not isinstance(numbers, Tensor):
            numbers = stream_of(numbers).uniform(nodes.shape[0], length)
        self._check(numbers, (nodes.shape[0], length))
        back = self._back if self.is_second_order else (None, None)
        lists, likely = (self.lists.starts, self.lists.indices), (self.weights, self._cumulative, *back)
        found: Tensor = self._kernels.walk(*lists, nodes, numbers, *likely, self.p, self.q)
        return found

    def transition(self, node: int, before: int | None = None) -> Tensor:
        """Return the weights of a step from `node` to each of its neighbours, after a step from `before`."""
        row = slice(int(self.lists.starts[node]), int(self.lists.starts[node + 1]))
        near = self.lists.indices[row]
        weights = torch.ones(near.shape[0], dtype=torch.float64) if self.weights is None else self.weights[row]
        if before is None or not self.is_second_order:
            return weights
        starts, indices = self._back
        before_ones = indices[starts[before] : starts[before + 1]]
        return second_order_weights(near, weights, before, before_ones, self.p, self.q)

    @cached_property
    def _back(self) -> tuple[Tensor, Tensor]:
        back = self.lists.transposed  # looked up for each node drawn: whether it leads to the node before
        return back.starts, back.indices

    def _sums(self, weights: Tensor) -> Tensor:
        edges = self.lists.indices.shape[0]
        if weights.shape != (edges,):
            raise InputError(f"weights of shape {tuple(weights.shape)} must be ({edges},), one of each neighbour")
        if edges and not (bool(weights.isfinite().all()) and float(weights.min()) >= 0):
            raise InputError("weights must be finite and at least 0")
        sums: Tensor = self._kernels.cumulative_weights(self.lists.starts, weights)
        ends = self.lists.starts[1:][self.lists.lengths > 0] - 1
        if bool((sums[ends] == 0).any()):
            raise InputError("weights must not all be 0 in a list of neighbours")
        return sums

    def _check(self, numbers: Tensor, size: tuple[int, int]) -> None:
        is_whole = numbers.dtype == torch.long
        if numbers.shape != size or not (is_whole or numbers.dtype == torch.float64):
            raise InputError(f"numbers of shape {tuple(numbers.shape)} and {numbers.dtype} must be {size} and float64")
        if is_whole and (self.weights is not None or self.is_second_order):
            raise InputError("numbers must be float64 unless all neighbours are equally likely")
        if numbers.numel() and not 0 <= float(numbers.min()) <= float(numbers.max()) < (math.inf if is_whole else 1):
            raise InputError("numbers must be at least 0" + ("" if is_whole else " and below 1"))


def _kernels(device: torch.device, backend: str) -> Any:
    return find_kernels(backend, Request("walk", device, torch.float64, 0, 1))
