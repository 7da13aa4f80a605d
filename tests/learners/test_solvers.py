import numpy as np
import pytest
import torch

from convnn.learners.solvers import (
    Preconditioner,
    largest_eigenvalue,
    leading_eigenpairs,
    leading_eigenpairs_of_map,
)
from convnn.ops.iterative import conjugate_gradients, richardson
from small_graphs import features

ROOT = features(20, 20)
A = ROOT @ ROOT.T / 20 + 0.1 * torch.eye(20, dtype=torch.float64)
B = features(20, 3, seed=4)
EXACT = torch.linalg.solve(A, B)


def test_conjugate_gradients_solve_in_as_many_steps_as_eigenvalues() -> None:
    found = conjugate_gradients(lambda v: A @ v, B, tol=1e-12)
    assert found.converged
    assert found.n_iter <= 25
    assert torch.allclose(found.x, EXACT)
    few = torch.diag(torch.tensor([1.0, 1, 3, 3, 9, 9], dtype=torch.float64))
    assert conjugate_gradients(lambda v: few @ v, B[:6], tol=1e-12).n_iter == 3


def test_exact_preconditioner_needs_one_step() -> None:
    inverse = torch.linalg.inv(A)
    found = conjugate_gradients(lambda v: A @ v, B, precondition=lambda r: inverse @ r, tol=1e-10)
    assert found.n_iter == 1


def test_zero_columns_stay_zero() -> None:
    b = B.clone()
    b[:, 1] = 0
    found = conjugate_gradients(lambda v: A @ v, b, tol=1e-12)
    assert found.converged
    assert not found.x[:, 1].any()
    assert conjugate_gradients(lambda v: A @ v, torch.zeros_like(B)).n_iter == 0


def test_steps_of_constant_length() -> None:
    top = largest_eigenvalue(lambda v: A @ v, B, tol=1e-12, max_iter=5000)
    assert top == pytest.approx(torch.linalg.eigvalsh(A)[-1].item(), rel=1e-6)
    found = richardson(lambda v: A @ v, B, 1 / top, tol=1e-10, max_iter=5000)
    assert found.converged
    assert torch.allclose(found.x, EXACT)
    x = torch.zeros_like(B)
    for _ in range(3):
        x = x - 0.1 * (A @ x - B)
    few = richardson(lambda v: A @ v, B, 0.1, tol=0, max_iter=3)
    assert torch.allclose(few.x, x)
    assert not few.converged


@pytest.mark.parametrize("count", [1, 4, 19])
def test_leading_eigenpairs(count: int) -> None:
    values = torch.linalg.eigvalsh(A).flip(0)[:count]
    for found, vectors in (leading_eigenpairs(A, count), leading_eigenpairs_of_map(lambda v: A @ v, B, count)):
        assert torch.allclose(found, values)
        assert torch.allclose(A @ vectors, vectors * found)
        assert np.allclose(vectors.T @ vectors, np.eye(count), atol=1e-10)


@pytest.mark.parametrize("power", [1.0, 0.95])
def test_preconditioner_flattens_the_leading_eigenvalues(power: float) -> None:
    K, q = A * 20, 5
    values, vectors = leading_eigenpairs(K / 20, q + 1)
    ours = Preconditioner.of(values, vectors, 1.0, power)
    flat = K @ (torch.eye(20, dtype=torch.float64) - torch.stack([ours.correct(K[:, [i]])[:, 0] for i in range(20)], 1))
    left = torch.linalg.eigvals(flat / 20).real.sort(descending=True).values
    assert left[0].item() == pytest.approx(ours.top)
    if power == 1:  # all of them are the next one
        assert torch.allclose(left[: q + 1], values[-1].expand(q + 1))
