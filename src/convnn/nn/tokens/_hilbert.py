"""The generalised Hilbert curve: an order of the positions of a map in which neighbours are mostly near each other."""

from collections.abc import Iterator
from functools import lru_cache


@lru_cache(maxsize=32)
def hilbert_order(rows: int, columns: int) -> tuple[int, ...]:
    """Return the raster indices of the positions of a map in the order of the curve.

    Reference:
        Červený, github.com/jakubcerveny/gilbert: a curve for maps of any size.
    """
    wide, high = (columns, 0), (0, rows)
    walk = _walk(0, 0, *wide, *high) if columns >= rows else _walk(0, 0, *high, *wide)
    return tuple(y * columns + x for x, y in walk)


def _walk(x: int, y: int, ax: int, ay: int, bx: int, by: int) -> Iterator[tuple[int, int]]:
    """Yield the positions from (x, y) on that the vectors a, along which the walk ends, and b span."""
    length, breadth = abs(ax + ay), abs(bx + by)
    (dax, day), (dbx, dby) = (_sign(ax), _sign(ay)), (_sign(bx), _sign(by))
    if breadth == 1:
        yield from ((x + i * dax, y + i * day) for i in range(length))
        return
    if length == 1:
        yield from ((x + i * dbx, y + i * dby) for i in range(breadth))
        return
    a2x, a2y, b2x, b2y = ax // 2, ay // 2, bx // 2, by // 2
    if 2 * length > 3 * breadth:
        if abs(a2x + a2y) % 2 and length > 2:
            a2x, a2y = a2x + dax, a2y + day
        yield from _walk(x, y, a2x, a2y, bx, by)
        yield from _walk(x + a2x, y + a2y, ax - a2x, ay - a2y, bx, by)
        return
    if abs(b2x + b2y) % 2 and breadth > 2:
        b2x, b2y = b2x + dbx, b2y + dby
    yield from _walk(x, y, b2x, b2y, a2x, a2y)
    yield from _walk(x + b2x, y + b2y, ax, ay, bx - b2x, by - b2y)
    end = x + ax - dax + b2x - dbx, y + ay - day + b2y - dby
    yield from _walk(*end, -b2x, -b2y, a2x - ax, a2y - ay)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
