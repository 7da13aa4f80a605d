"""Triangular convolutions and their inverse: the dense matrix, gradients, the custom op."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from convnn.backends import cpu
from convnn.errors import InputError, UnsupportedError
from convnn.ops import _triangular, triangular

BACKENDS = ["reference", pytest.param("cpu", marks=pytest.mark.skipif(cpu.core is None, reason="not compiled"))]


def problem(width: int = 2, groups: int = 2, size: tuple[int, int] = (3, 4)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, width * groups, *size, generator=generator, dtype=torch.double)
    weight = 0.3 * torch.randn(width * groups, width, 3, 2, generator=generator, dtype=torch.double)
    weight[..., -1, -1] += torch.eye(width, dtype=torch.double).repeat(groups, 1)
    return z, weight


def lower(weight: Tensor) -> Tensor:
    """Set to 0 what is above the diagonal of the last tap."""
    width = weight.shape[1]
    mask = torch.ones_like(weight)
    mask[..., -1, -1] = torch.ones(width, width).tril().repeat(weight.shape[0] // width, 1)
    return weight * mask


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_matrix_is_triangular_and_is_solved(backend: str) -> None:
    z, weight = problem(groups=1)
    weight = lower(weight)
    inputs = torch.eye(24, dtype=torch.double).view(24, 3, 4, 2).permute(0, 3, 1, 2)
    matrix = triangular.convolve(inputs, weight).permute(0, 2, 3, 1).reshape(24, 24).T
    assert torch.equal(matrix, matrix.tril())
    expected = torch.linalg.solve(matrix, z.permute(0, 2, 3, 1).reshape(2, 24).T).T.view(2, 3, 4, 2).permute(0, 3, 1, 2)
    torch.testing.assert_close(triangular.solve(z, weight, backend=backend), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_first_and_second_order(backend: str) -> None:
    z, weight = (one.requires_grad_() for one in problem(size=(2, 3)))

    def solve(z: Tensor, weight: Tensor) -> Tensor:
        return triangular.solve(z, weight, 2, backend=backend)

    assert torch.autograd.gradcheck(
        solve, (z, weight), fast_mode=True
    )  # of the last tap, only the lower triangle is read
    assert torch.autograd.gradgradcheck(solve, (z[:1, :, :2, :2], weight), fast_mode=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    z, weight = (one.requires_grad_() for one in problem())
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(_triangular.solve_triangular, (z, weight, 2, backend), test_utils=tests)


def test_cost_counts_every_tap() -> None:
    z, weight = problem()
    with FlopCounterMode(display=False) as counter:
        triangular.solve(z, weight, 2)
    assert counter.get_total_flops() == 2 * z.numel() * 2 * 3 * 2


def test_half_types_are_computed_in_float32() -> None:
    z, weight = (one.to(torch.bfloat16) for one in problem())
    found = triangular.solve(z, weight, 2)
    assert found.dtype == torch.bfloat16
    expected = triangular.solve(z.float(), weight.float(), 2).bfloat16()
    torch.testing.assert_close(found, expected)


def test_an_empty_batch() -> None:
    z, weight = problem()
    assert triangular.solve(z[:0], weight, 2).shape == (0, *z.shape[1:])


def test_refuses() -> None:
    z, weight = problem()
    for groups in (0, 1, 3):
        with pytest.raises(InputError, match=r"^weight of \(4, 2, 3, 2\) must be \(4, 4 / groups, k_h, k_w\)$"):
            triangular.solve(z, weight, groups)
    with pytest.raises(InputError, match=r"must have four axes$"):
        triangular.solve(z[0], weight, 2)
    with pytest.raises(InputError, match=r"^backend='gpu' is not one of"):
        triangular.solve(z, weight, 2, backend="gpu")
    with pytest.raises(UnsupportedError, match=r"there is no kernel for solve_triangular"):
        triangular.solve(z, weight, 2, backend="triton")
