"""Kernel products of the compiled core, for every instruction set of this machine."""

import pytest
import torch
from torch import Tensor

from convnn.backends import cpu, reference
from small_graphs import features
from threads import thread_counts

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled"),
    pytest.mark.usefixtures("core"),
]
KERNELS = [
    ("gaussian", [2.0]),
    ("laplace", [1.5]),
    ("polynomial", [1, 0.5, 0.0]),
    ("polynomial", [6, 0.2, 1.0]),
    ("arc_cosine", [0]),
    ("arc_cosine", [1]),
    ("arc_cosine", [2]),
]
SHAPES = [(1, 1, 1, 1), (33, 70, 3, 2), (5, 600, 8, 1), (101, 33, 9, 5), (50, 1100, 40, 3), (7, 32, 300, 17)]
TYPES = [(torch.float64, 1e-13), (torch.float32, 2e-5)]


def inputs(n: int, m: int, d: int, c: int) -> list[Tensor]:
    return [features(n, d), features(m, d, seed=2), features(m, c, seed=3)]


def assert_near(ours: Tensor, X: Tensor, Y: Tensor, v: Tensor, name: str, numbers: list, tolerance: float) -> None:
    """Compare with the definition in float64, on the scale of the same sums without signs."""
    wide = [one.double() for one in (X, Y, v)]
    is_radial = name in ("gaussian", "laplace")
    unsigned = [one if is_radial and one is not wide[2] else one.abs() for one in wide]
    scale = reference.kernel_product(*unsigned, name, numbers).clamp_min(1e-30)
    assert ours.dtype == v.dtype
    assert ((ours - reference.kernel_product(*wide, name, numbers)).abs() / scale).max() < tolerance


@pytest.mark.parametrize(("name", "numbers"), KERNELS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES, ids=str)
def test_agrees_with_the_definition(name: str, numbers: list, dtype: torch.dtype, tolerance: float) -> None:
    if name == "arc_cosine" and numbers == [0]:
        tolerance = tolerance**0.5  # the angle of nearly parallel points has half of the digits
    for shape in SHAPES:
        X, Y, v = (one.to(dtype) for one in inputs(*shape))
        assert_near(cpu.kernel_product(X, Y, v, name, numbers), X, Y, v, name, numbers, tolerance)
        one = torch.eye(shape[1], dtype=dtype)
        assert_near(cpu.kernel_matrix(X, Y, name, numbers), X, Y, one, name, numbers, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES, ids=str)
@pytest.mark.parametrize("name", ["gaussian", "laplace"])
@pytest.mark.parametrize("width", [3, 20])
def test_far_clusters_lose_no_digits(name: str, width: int, dtype: torch.dtype, tolerance: float) -> None:
    """Points within a cluster are a thousandth apart of its distance from the others, and from the origin."""
    spread = 1e-2
    centres = 10 * features(7, width, seed=4) + 30
    X, Y = ((features(n, width, seed=n) * spread + centres[torch.arange(n) % 7]).to(dtype) for n in (60, 140))
    X = torch.cat([X, Y[:9]])  # distance 0 is exact
    v = features(140, 2, seed=6).to(dtype)
    bandwidth = spread * width**0.5
    found = cpu.kernel_product(X, Y, v, name, [bandwidth])
    assert_near(found, X, Y, v, name, [bandwidth], 10 * tolerance)
    alone = cpu.kernel_product(Y, Y[:1], torch.ones(1, 1, dtype=dtype), name, [bandwidth])
    assert alone[0] == 1


def test_same_bits_on_any_number_of_threads() -> None:
    X, Y, v = (one.float() for one in inputs(301, 1300, 20, 3))
    first, *others = (cpu.kernel_product(X, Y, v, "laplace", [2.0]) for _ in thread_counts(1, 2, 3))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exponentials_are_accurate_to_few_units_in_the_last_place(dtype: torch.dtype) -> None:
    """One point against many: values of the kernel themselves, up to where they are the least normal numbers."""
    last = 86.0 if dtype == torch.float32 else 706.0
    X = torch.linspace(0, last, 1001, dtype=dtype)[:, None]
    zero, one = torch.zeros(1, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)
    found = cpu.kernel_product(X, zero, one, "laplace", [1.0])
    exact = torch.exp(-X.double())
    assert ((found - exact).abs() / exact).max() < 3 * torch.finfo(dtype).eps
    assert cpu.kernel_product(X + 2000, zero, one, "laplace", [1.0]).eq(0).all()


@pytest.mark.parametrize("name", ["gaussian", "laplace", "polynomial", "arc_cosine"])
def test_nan_stays_in_its_row_and_zeros_have_a_value(name: str) -> None:
    X, Y, v = inputs(20, 70, 12, 1)
    X[3], X[5], Y[2] = torch.nan, 0, 0
    numbers = [1] if name == "arc_cosine" else [1.0, 1.0, 1.0] if name == "polynomial" else [1.0]
    found = cpu.kernel_product(X, Y, v, name, numbers)
    assert found.isnan().flatten().nonzero().tolist() == [[3]]
    assert torch.allclose(found[5], reference.kernel_product(X[5:6], Y, v, name, numbers))


def test_nothing_to_do() -> None:
    X, Y, v = inputs(4, 6, 2, 2)
    assert cpu.kernel_product(X[:0], Y, v, "gaussian", [1.0]).shape == (0, 2)
    assert cpu.kernel_product(X, Y, v[:, :0], "gaussian", [1.0]).shape == (4, 0)
    assert cpu.kernel_product(X, Y[:0], v[:0], "gaussian", [1.0]).eq(0).all()
    ones = cpu.kernel_product(X[:, :0], Y[:, :0], v, "gaussian", [1.0])
    assert torch.allclose(ones, v.sum(0).expand(4, 2))
