"""The inverse of triangular convolutions of the compiled core, for every instruction set of this machine."""

import pytest
import torch
from torch import Tensor

from convnn.backends import cpu, reference
from convnn.ops import triangular

pytestmark = pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled")

SHAPES = [  # channels of a group, groups, kernel, map
    (1, 4, (3, 3), (7, 7)),
    (2, 4, (3, 3), (5, 9)),
    (3, 1, (2, 3), (9, 4)),
    (6, 2, (5, 5), (20, 37)),
    (5, 1, (1, 1), (3, 3)),
    (4, 1, (1, 3), (40, 5)),
    (9, 1, (3, 1), (1, 40)),
    (2, 1, (5, 4), (2, 2)),
]


def kernel(width: int, groups: int, sides: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw a kernel whose last tap is lower triangular with another diagonal than 1."""
    generator = torch.Generator().manual_seed(width)
    weight = 0.1 * torch.randn(width * groups, width, *sides, generator=generator, dtype=dtype)
    last = weight[..., -1, -1].unflatten(0, (groups, -1)).tril(-1)
    weight[..., -1, -1] = (last + torch.linspace(0.8, 1.5, width, dtype=dtype).diag()).flatten(0, 1)
    return weight


@pytest.mark.parametrize(("width", "groups", "sides", "size"), SHAPES)
def test_it_undoes_the_convolution(core: str, width: int, groups: int, sides: tuple, size: tuple) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        weight = kernel(width, groups, sides, dtype)
        x = torch.randn(2, width * groups, *size, dtype=dtype)
        z = triangular.convolve(x, weight, groups)
        for backend in (cpu, reference):
            torch.testing.assert_close(backend.solve_triangular(z, weight, groups), x, rtol=0, atol=tolerance)


def test_bits_do_not_depend_on_threads_or_on_the_rest_of_the_batch(core: str) -> None:
    weight, z = kernel(5, 2, (3, 3), torch.float32), torch.randn(5, 10, 19, 23)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = cpu.solve_triangular(z, weight, 2)
        torch.set_num_threads(3)
        assert torch.equal(cpu.solve_triangular(z, weight, 2), alone)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(cpu.solve_triangular(z[2:3], weight, 2), alone[2:3])
    outside = z.clone()
    outside[2:] = torch.nan  # of other images, nothing is read
    assert torch.equal(cpu.solve_triangular(outside, weight, 2)[:2], alone[:2])


def test_nothing_later_is_read(core: str) -> None:
    weight, z = kernel(2, 1, (3, 3)), torch.randn(1, 2, 6, 8, dtype=torch.float64)
    changed = z.clone()
    changed[:, :, 4:] = torch.nan
    changed[:, :, :, 5:] = torch.nan
    found, expected = (cpu.solve_triangular(one, weight, 1)[:, :, :4, :5] for one in (changed, z))
    assert torch.equal(found, expected)
