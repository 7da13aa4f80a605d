"""Tests of kernels of quantum states: matrices of the gates, invariances, and machines with an aligned kernel."""

import math
from functools import reduce

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from sklearn.base import clone
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from convnn.errors import InputError, UnsupportedError
from convnn.learners.kernels import Gaussian
from convnn.learners.quantum import AlignedClassifier, CovariantQuantum, alignment

X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
RING = [(0, 1), (1, 2), (0, 2)]


def on(gate: np.ndarray, q: int, qubits: int) -> np.ndarray:
    """Return the matrix of a gate on one qubit, of which the first is the lowest bit."""
    return reduce(np.kron, [gate if i == q else np.eye(2) for i in reversed(range(qubits))])


def state_by_matrices(x: np.ndarray, edges: list, theta: np.ndarray) -> np.ndarray:
    qubits = len(x) // 2
    state = np.eye(2**qubits)[0].astype(complex)
    for q in range(qubits):
        state = on(expm(-0.5j * theta[q] * Y), q, qubits) @ state
    for i, j in edges:
        one = [on(np.diag([0, 1]), q, qubits) for q in (i, j)]
        state = (np.eye(2**qubits) - 2 * one[0] @ one[1]) @ state
    for q in range(qubits):
        state = on(expm(1j * x[2 * q] * X) @ expm(1j * x[2 * q + 1] * Z), q, qubits) @ state
    return state


def angles(count: int, qubits: int) -> torch.Tensor:
    return torch.rand(count, 2 * qubits, generator=torch.Generator().manual_seed(qubits), dtype=torch.double) * 6 - 3


@pytest.mark.parametrize(("qubits", "edges"), [(1, []), (2, [(1, 0)]), (3, RING), (3, [*RING, (2, 1)])])
def test_states_are_products_of_the_matrices_of_the_gates(qubits: int, edges: list) -> None:
    x, theta = angles(4, qubits), np.linspace(0.3, 2, qubits)
    kernel = CovariantQuantum(qubits, edges, torch.from_numpy(theta))
    expected = np.stack([state_by_matrices(row, edges, theta) for row in x.numpy()])
    np.testing.assert_allclose(kernel.states(x), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(kernel(x[:2].numpy(), x.numpy()), abs(expected[:2].conj() @ expected.T) ** 2, atol=1e-14)
    torch.testing.assert_close(kernel.diagonal(x), kernel.block(x, x).diagonal())


def test_a_common_rotation_and_the_stabiliser_change_nothing() -> None:
    """Here rotations about X alone, which compose by addition; and the generators of the graph state of a ring."""
    x, shift = angles(5, 3), angles(1, 3)
    shift[:, 1::2] = 0
    kernel = CovariantQuantum(3, RING, 0.7)
    torch.testing.assert_close(kernel.block(x + shift, x + shift), kernel.block(x, x), rtol=0, atol=1e-14)
    moved = x.clone()  # multiplied from the right by X of qubit 0 and Z of its neighbours
    moved[:, 0] += math.pi / 2
    moved[:, 1] *= -1
    moved[:, [3, 5]] += math.pi / 2
    same = kernel.set_params(theta=math.pi / 2).block(x, moved).diagonal()
    torch.testing.assert_close(same, torch.ones_like(same), rtol=0, atol=1e-13)
    assert kernel.set_params(theta=0.7).block(x, moved).diagonal().max() < 0.9


def test_without_a_superposition_only_the_tilts_are_seen() -> None:
    x = angles(6, 3)
    offsets = (x[:, None] - x)[..., ::2]
    torch.testing.assert_close(
        CovariantQuantum(3, theta=0.0).block(x, x), offsets.cos().square().prod(-1), rtol=0, atol=1e-14
    )


def test_the_matrix_is_positive_and_has_gradients() -> None:
    x, dual = angles(7, 2), torch.linspace(-1, 1, 7).double()
    assert torch.linalg.eigvalsh(CovariantQuantum(2, theta=1.0).block(x, x)).min() > -1e-14
    theta = torch.tensor([0.4, 1.3], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda t: alignment(CovariantQuantum(2, theta=t).block(x, x), dual), [theta], fast_mode=True
    )


def cosets(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy elements of two left cosets of the stabiliser of the ring's graph state, and their class."""
    random = np.random.default_rng(seed)
    centers, labels = np.random.default_rng(9).uniform(-math.pi / 2, math.pi / 2, (2, 6)), np.arange(count) % 2
    near = np.ones((3, 3)) - np.eye(3)
    rows = []
    for label in labels:
        flips = random.integers(2, size=3)
        signs, turns = (-1.0) ** flips, near @ flips
        row = centers[label].copy()
        row[::2] += flips * math.pi / 2
        row[1::2] = signs * row[1::2] + turns * math.pi / 2
        rows.append(row + random.normal(scale=0.1, size=6))
    return np.array(rows), labels


def test_alignment_finds_the_state_of_the_cosets() -> None:
    x, y = cosets(24, 0)
    others, expected = cosets(60, 1)
    start = AlignedClassifier(CovariantQuantum(3, RING, 0.1), "theta", steps=0).fit(x, y)
    aligned = clone(start).set_params(steps=25).fit(x, y)
    assert aligned.score(others, expected) > start.score(others, expected) + 0.15
    assert aligned.losses_[-1] < 0.6 * aligned.losses_[0]
    assert aligned.n_iter_ == 25
    assert isinstance(aligned.kernel_.theta, float)


def test_the_machines_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)), np.repeat([3, 5, 8], 10)
    x += y[:, None] / 3
    ours = AlignedClassifier(Gaussian(2), steps=0, C=0.7).fit(x, y)
    for c, label in enumerate(ours.classes_):
        theirs = SVC(C=0.7, gamma=1 / 8).fit(x, y == label)
        np.testing.assert_allclose(ours.decision_function(x)[:, c], theirs.decision_function(x), rtol=0, atol=1e-2)
    moved = clone(ours).set_params(steps=5).fit(x, y)
    assert moved.kernel_.bandwidth != 2
    assert moved.losses_[-1] < ours.losses_[0]
    assert moved.kernel.bandwidth == 2  # the one that was given is left alone


def test_scikit_learn_takes_it() -> None:
    check_estimator(AlignedClassifier(steps=1), on_skip=None)


def test_bad_input() -> None:
    for settings, message in (
        ({"qubits": 0}, "qubits=0 must be an integer of at least 1"),
        ({"qubits": 2, "edges": [(0, 2)]}, r"edge \(0, 2\) must join two different qubits of 0 to 1"),
        ({"qubits": 2, "edges": [(1, 1)]}, r"edge \(1, 1\) must join"),
        ({"qubits": 3, "theta": [1.0, 2.0]}, r"theta of shape \(2,\) must be one angle, or one for each of 3 qubits"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            CovariantQuantum(**settings)
    with pytest.raises(UnsupportedError, match=r"^qubits=15 is more than 14; a state would have 2\^15 amplitudes$"):
        CovariantQuantum(15)
    with pytest.raises(InputError, match=r"^X of shape \(4, 5\) must have 6 columns, two for each qubit$"):
        CovariantQuantum(3).block(angles(4, 3)[:, :5], angles(4, 3))
    x, y = cosets(6, 0)
    for settings, message in (
        ({"C": 0}, "C=0 must be a positive number"),
        ({"steps": -1}, "steps=-1 must be an integer of at least 0"),
        ({"parameter": "width"}, "parameter='width' is not one of Gaussian"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            AlignedClassifier(**settings).fit(x, y)


def test_an_edge_that_is_there_twice_cancels() -> None:
    x = angles(3, 3)
    twice, once = (CovariantQuantum(3, edges, 0.8).block(x, x) for edges in ([*RING, (1, 0)], RING[1:]))
    torch.testing.assert_close(twice, once)
    assert not torch.allclose(twice, CovariantQuantum(3, RING, 0.8).block(x, x))
