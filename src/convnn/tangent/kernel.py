"""Tangent kernels of networks: inner products of the gradients of two samples, summed a block of columns at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_choice, check_positive
from convnn.tangent.jacobian import Columns, Jacobian, check_inputs
from convnn.tangent.modes import evaluation
from convnn.tangent.projection import BLOCK, Given, Projection, as_projection

KINDS = ("full", "trace", "sum_of_logits", "layers", "projected")
PROJECTED = ("trace", "sum_of_logits")

Tile = list[Columns]


def tangent_kernel(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    kind: str = "full",
    *,
    chunk: int = 1,
    megabytes: float = 256.0,
    normalize: bool = False,
    projection: Projection | Tensor | int | None = None,
    of: str = "trace",
) -> Any:
    r"""Return the empirical tangent kernel of a network, as it is.

    .. math:: \Theta(x, y)_{oq} = \langle \nabla_\theta f_o(x), \nabla_\theta f_q(y) \rangle

    over all parameters that require gradients, and what is made of it:

    - "full": :math:`\Theta`, (N, M, O, O);
    - "trace": :math:`\sum_o \Theta_{oo}`, (N, M), which no rotation of the outputs changes;
    - "sum_of_logits": :math:`\frac{1}{O} \sum_{oq} \Theta_{oq}`, (N, M), of one gradient a sample, that of the sum;
    - "layers": the parts of "trace" from each parameter, by name, which add up to it;
    - "projected": an unbiased estimate of "trace" or "sum_of_logits" from gradients times a random matrix.

    The kernel is a sum over the columns of the Jacobian. They are computed in blocks of at most `megabytes` for all
    samples, which are added and forgotten; the more columns, outputs or samples there are, the more passes over the
    samples that takes. Of a linear map on one row of each sample, not even those are formed: their products are the
    products of its inputs times those of the gradients of its outputs. A projection keeps (N, O, k) numbers, besides
    the gradients of as many samples as `megabytes` hold, and passes over the samples once.

    The network is in evaluation mode meanwhile, and nothing of it changes, neither flags nor gradients. A parameter
    that is not used adds 0.

    Args:
        model: a network whose samples do not depend on each other, with outputs (N,) or (N, O).
        x: (N, ...) its inputs.
        y: (M, ...) other inputs; None is x.
        kind: one of the five above.
        chunk: samples that `torch.func.vmap` differentiates at once, which pays on a GPU; 1 differentiates one by one,
            with the compiled gradients of our layers, which is quickest on a processor.
        megabytes: the most memory of a block of columns, besides the kernel itself and one gradient.
        normalize: divide by :math:`\sqrt{\Theta(x, x) \Theta(y, y)}`, which leaves cosines; 0 where a gradient is 0.
        projection: of "projected": how gradients are projected, a `Projection`, a number of columns, or a matrix
            (P, k), with rows in the order of the parameters; None is 512 columns of signs.
        of: of "projected": the kernel that is estimated, "trace" or "sum_of_logits".

    Returns:
        (N, M, O, O), (N, M), or a dictionary of (N, M), on the device and in the type of the parameters.

    Raises:
        InputError: an argument is unknown or out of range, no parameter requires gradients, samples of x and y have
            different shapes, or the outputs are not (N,) or (N, O).

    Reference:
        Jacot et al., arXiv 1806.07572; layers, Engel et al., arXiv 2205.12372; the sum of logits, Mohamadi et al.,
        arXiv 2206.12543, equation 2; traces and projections, Engel et al., arXiv 2305.14585.

    Example:
        >>> model = nn.Linear(3, 1)
        >>> x = torch.randn(4, 3)
        >>> torch.allclose(tangent_kernel(model, x, kind="trace"), x @ x.T + 1)
        True
    """
    check_choice("kind", kind, KINDS)
    check_choice("of", of, PROJECTED)
    if normalize and kind == "full":
        raise InputError('normalize=True is for kernels (N, M), and kind="full" has matrices; choose "trace"')
    if kind != "projected" and (projection is not None or of != "trace"):
        raise InputError(f'kind={kind!r} has no projection; leave out projection and of, or choose kind="projected"')
    settings: dict[str, Any] = {"chunk": chunk, "megabytes": megabytes}
    if kind == "projected":
        features = [tangent_features(model, one, projection, of=of, **settings).flatten(1) for one in _sets(x, y)]
        squares = [one.square().sum(1) for one in features]
        kernels = {"": features[0] @ features[-1].T}
        return _cosines(kernels, [{"": one} for one in squares])[""] if normalize else kernels[""]
    kernels = _kernels(model, _sets(x, y), kind, normalize, **settings)
    return kernels if kind == "layers" else kernels[""]


def tangent_features(
    model: nn.Module,
    x: Tensor,
    projection: Projection | Tensor | int | None = None,
    *,
    of: str = "trace",
    chunk: int = 1,
    megabytes: float = 256.0,
) -> Tensor:
    r"""Return the gradients of each output times a random matrix, :math:`\nabla_\theta f_o(x)^T R / \sqrt k`.

    Their inner products are `tangent_kernel` of kind "projected". The same seed gives the same matrix, so that
    features of different inputs belong together.

    Args:
        model, x, projection, chunk, megabytes: as `tangent_kernel`.
        of: the outputs for "trace"; their sum over the root of O for "sum_of_logits".

    Returns:
        (N, O, k), or (N, 1, k) of the sum.

    Raises:
        InputError: as `tangent_kernel`.
    """
    check_choice("of", of, PROJECTED)
    check_positive("megabytes", megabytes)
    with evaluation(model):
        jacobian = Jacobian(model, x, summed=of == "sum_of_logits", chunk=chunk)
        random = as_projection(projection, jacobian.num_parameters)
        like = next(iter(jacobian.parameters.values()))
        features = torch.zeros(x.shape[0], jacobian.num_outputs, random.dim, device=like.device, dtype=like.dtype)
        starts = _starts(jacobian)
        share = max(_numbers(megabytes, like) // (jacobian.num_outputs * jacobian.num_parameters), 1)
        tiles, groups = _plan(jacobian, share, megabytes)
        for some, into in zip(x.split(share), features.split(share), strict=True):
            for outputs in groups:
                for tile in tiles:
                    rows = jacobian.rows(some, tile, outputs)
                    for columns in tile:
                        first = starts[columns.name] + columns.start
                        into[:, outputs] += _project(rows[columns].left, random, first)
                    del rows  # before the next ones are made
    return features / random.dim**0.5


def _project(rows: Tensor, random: Projection | Given, first: int) -> Tensor:
    """Return rows (N, O, p), whose columns begin at `first`, times those rows of a random matrix."""
    total = rows.new_zeros(*rows.shape[:2], random.dim)
    for start in range(0, rows.shape[2], BLOCK):
        some = rows[:, :, start : start + BLOCK]
        total += some @ random.rows(first + start, first + start + some.shape[2], rows)
    return total


def _sets(x: Tensor, y: Tensor | None) -> list[Tensor]:
    check_inputs("x", x)
    if y is None:
        return [x]
    check_inputs("y", y, like=x)
    return [x, y]


def _kernels(
    model: nn.Module, sets: list[Tensor], kind: str, normalize: bool, chunk: int, megabytes: float
) -> dict[str, Tensor]:
    """Return kernels by the name of their parameter, or by "" of all parameters together."""
    check_positive("megabytes", megabytes)
    kernels: dict[str, Tensor] = {}
    squares: list[dict[str, Tensor]] = [{} for _ in sets]
    full = kind == "full"
    with evaluation(model):
        jacobian = Jacobian(model, sets[0], summed=kind == "sum_of_logits", chunk=chunk, factors=True)
        tiles, groups = _plan(jacobian, sum(one.shape[0] for one in sets), megabytes, all_outputs=full)
        for tile in tiles:
            for outputs in groups:
                rows = [jacobian.rows(one, tile, outputs) for one in sets]
                for columns in tile:
                    key = columns.name if kind == "layers" else ""
                    _add(kernels, key, rows[0][columns].gram(rows[-1][columns], full=full))
                    for total, some in zip(squares, rows if normalize else (), strict=False):
                        _add(total, key, some[columns].squares())
                del rows  # before the next ones are made
    ordered = {name: kernels[name] for name in jacobian.parameters} if kind == "layers" else kernels
    return _cosines(ordered, squares) if normalize else ordered


def _add(totals: dict[str, Tensor], key: str, more: Tensor) -> None:
    totals[key] = totals[key].add_(more) if key in totals else more


def _cosines(kernels: Mapping[str, Tensor], squares: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Divide kernels by the lengths of the gradients; 0 where one of them is 0."""
    lengths = {name: squares[0][name].sqrt()[:, None] * squares[-1][name].sqrt() for name in kernels}
    return {name: torch.where(lengths[name] > 0, one / lengths[name], 0.0) for name, one in kernels.items()}


def _starts(jacobian: Jacobian) -> dict[str, int]:
    """Return the first column of each parameter."""
    starts, column = {}, 0
    for name, value in jacobian.parameters.items():
        starts[name], column = column, column + value.numel()
    return starts


def _numbers(megabytes: float, like: Tensor) -> int:
    """Return how many numbers of the type of a tensor fit the memory."""
    return max(int(megabytes * 1e6 / like.element_size()), 1)


def _plan(
    jacobian: Jacobian, samples: int, megabytes: float, *, all_outputs: bool = False
) -> tuple[list[Tile], list[slice]]:
    """Return tiles of columns and groups of outputs, of which the rows of so many samples fit the memory."""
    numbers = _numbers(megabytes, next(iter(jacobian.parameters.values())))
    width = sum(jacobian.size(name) for name in jacobian.parameters)
    most = jacobian.num_outputs
    if not all_outputs:
        most = min(most, max(numbers // (samples * width), 1))
    groups = [slice(start, min(start + most, jacobian.num_outputs)) for start in range(0, jacobian.num_outputs, most)]
    return list(_tiles(jacobian, max(numbers // (samples * most), 1))), groups


def _tiles(jacobian: Jacobian, width: int) -> Iterator[Tile]:
    """Yield all columns in tiles of so many, from the last parameter on: gradients of the last layers cost least."""
    tile: Tile = []
    room = width
    for name in reversed(list(jacobian.parameters)):
        stop, size = 0, jacobian.parameters[name].numel()
        while stop < size:
            whole = name in jacobian.linear
            start, stop = stop, size if whole else min(stop + room, size)
            tile.append(Columns(name, start, stop))
            room -= jacobian.size(name) if whole else stop - start
            if room <= 0:
                yield tile
                tile, room = [], width
    if tile:
        yield tile
