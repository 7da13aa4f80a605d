import numpy as np
import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.tangent import StepGraphon, gntk, gntk_spectrum, graphon_sample
from small_graphs import features

VALUES = torch.tensor([[0.8, 0.2, 0.1], [0.2, 0.6, 0.4], [0.1, 0.4, 0.9]], dtype=torch.float64)
STEPS = StepGraphon(VALUES, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64))
X = features(3, 2)


def falling(u: Tensor, v: Tensor) -> Tensor:
    return torch.exp(-3 * (u - v).abs())


def test_a_number_is_a_graphon() -> None:
    assert graphon_sample(lambda u, v: 0.5, 3).adjacency.tolist() == [[0.5] * 3] * 3


def test_blocks() -> None:
    at = torch.tensor([0.0, 0.2, 0.25, 0.6, 0.75, 1.0], dtype=torch.float64)
    assert STEPS.block_of(at).tolist() == [0, 0, 1, 1, 2, 2]
    assert STEPS(at[:, None], at)[1, 3] == VALUES[0, 1]


@pytest.mark.parametrize("n", [4, 12, 40])
def test_graphs_whose_blocks_fit_have_the_kernel_of_the_limit(n: int) -> None:
    limit = gntk(STEPS.operator, X, taps=(0, 1, 2), normalization=None)
    adjacency, positions = graphon_sample(STEPS, n)
    blocks = STEPS.block_of(positions)
    found = gntk(adjacency, X[blocks], taps=(0, 1, 2))
    assert torch.allclose(found, limit[blocks][:, blocks], rtol=1e-12)
    spectrum = gntk_spectrum(found)
    assert torch.allclose(spectrum[:3], gntk_spectrum(limit, STEPS.measures))
    assert bool((spectrum[3:].abs() < 1e-12).all())


@pytest.mark.parametrize("kind", ["weighted", "stochastic"])
def test_drawn_graphs_come_near_their_limit(kind: str) -> None:
    limit = gntk_spectrum(gntk(STEPS.operator, X, normalization=None), STEPS.measures)
    errors = []
    for n in (20, 320):
        total = 0.0
        for seed in range(5):
            adjacency, positions = graphon_sample(STEPS, n, kind, torch.Generator().manual_seed(seed))
            found = gntk_spectrum(gntk(adjacency, X[STEPS.block_of(positions)]))[:3]
            total += (found - limit).abs().sum().item()
        errors.append(total)
    assert errors[1] < errors[0] / 2


def test_samples() -> None:
    adjacency, positions = graphon_sample(falling, 4)
    assert positions.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert adjacency[0, 3].item() == pytest.approx(np.exp(-3 * 0.75))
    drawn = [graphon_sample(falling, 300, "weighted", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0].positions, drawn[1].positions)
    assert not torch.equal(drawn[0].positions, drawn[2].positions)
    assert torch.equal(drawn[0].positions, drawn[0].positions.sort().values)
    assert torch.equal(drawn[0].adjacency, falling(drawn[0].positions[:, None], drawn[0].positions))
    edges, at = graphon_sample(falling, 300, "stochastic", torch.Generator().manual_seed(0))
    assert torch.equal(at, drawn[0].positions)
    assert torch.equal(edges, edges.T)
    assert set(edges.unique().tolist()) == {0, 1}
    assert not edges.diagonal().any()
    assert edges.mean().item() == pytest.approx(drawn[0].adjacency.mean().item(), abs=0.01)
    assert graphon_sample(lambda u, v: torch.tensor(0.5), 3).adjacency.tolist() == [[0.5] * 3] * 3


def test_spectrum_is_that_of_the_matrix_by_shares() -> None:
    K = gntk(falling(*(graphon_sample(falling, 6).positions[i] for i in (np.s_[:, None], np.s_[:]))), features(6, 2))
    expected = np.sort(np.linalg.eigvals((K / 6).numpy()).real)[::-1]
    assert np.allclose(gntk_spectrum(K), expected)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.25, 0.15], dtype=torch.float64)
    expected = np.sort(np.linalg.eigvals((K * shares).numpy()).real)[::-1]
    assert np.allclose(gntk_spectrum(K, shares), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: graphon_sample(falling, 3, "random"), "^kind='random' is not one of"),
        (lambda: graphon_sample(falling, 0), "^n=0 must be an integer of at least 1"),
        (lambda: graphon_sample(lambda u, v: u + v + 1, 3, "stochastic"), "^W has the value .* at most 1"),
        (lambda: graphon_sample(lambda u, v: u * v - 1, 3), "^W has the value -.* at least 0"),
        (lambda: graphon_sample(lambda u, v: u + 0 * v, 3), "^W must be symmetric"),
        (lambda: StepGraphon(VALUES, torch.tensor([0.5, 0.5])), r"^values of shape \(3, 3\) must be symmetric"),
        (lambda: StepGraphon(VALUES.triu(), STEPS.measures), "^values of shape .* must be symmetric"),
        (lambda: StepGraphon(VALUES[:2, :2], torch.tensor([0.5, 0.7])), "^measures=.* whose sum is 1"),
        (lambda: gntk_spectrum(VALUES[:2]), r"^kernel of shape \(2, 3\) must be \(n, n\)"),
        (lambda: gntk_spectrum(VALUES.triu()), "^kernel must be symmetric"),
        (lambda: gntk_spectrum(VALUES, torch.ones(2)), r"^measures of shape \(2,\) must be \(3,\)"),
    ],
)
def test_bad_input(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
