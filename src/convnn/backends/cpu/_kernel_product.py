"""Products of kernel matrices with vectors by the compiled core."""

from collections.abc import Sequence

from torch import Tensor

from convnn.backends.cpu._core import core, dense, run


def kernel_product(X: Tensor, Y: Tensor, v: Tensor, name: str, numbers: Sequence[float]) -> Tensor:
    """Return K(X, Y) v, (n, c), of points (n, d) and (m, d) of one type, float32 or float64; see `reference`."""
    out = v.new_empty(X.shape[0], v.shape[1])
    return _fill(out, X, Y, v, name, numbers)


def kernel_matrix(X: Tensor, Y: Tensor, name: str, numbers: Sequence[float]) -> Tensor:
    """Return K(X, Y), (n, m); see `reference`."""
    out = X.new_empty(X.shape[0], Y.shape[0])
    return _fill(out, X, Y, None, name, numbers)


def _fill(out: Tensor, X: Tensor, Y: Tensor, v: Tensor | None, name: str, numbers: Sequence[float]) -> Tensor:
    if out.numel():
        run(core.kernel_product, *dense(X, Y, v), name, [*map(float, numbers), *[0.0] * (3 - len(numbers))], out)
    return out
