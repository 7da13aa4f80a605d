"""Tests of what is made of tangent kernels: spectra, alignment, regression, surrogates."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.tangent import (
    TangentSurrogate,
    alignment,
    effective_rank,
    faithfulness,
    kronecker_error,
    spectrum,
    tangent_kernel,
    tangent_regression,
    tangent_report,
)


def network(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def inputs(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_spectrum_of_a_full_kernel_is_that_of_the_matrix_of_all_outputs() -> None:
    full = tangent_kernel(network(), inputs(5))
    matrix = torch.zeros(15, 15).double()
    for n in range(5):
        for m in range(5):
            matrix[3 * n : 3 * n + 3, 3 * m : 3 * m + 3] = full[n, m]
    values = spectrum(full)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(matrix).flip(0))
    assert values.sum() == pytest.approx(matrix.trace().item())


def test_effective_rank_counts_equal_directions() -> None:
    assert effective_rank(torch.eye(7)) == pytest.approx(7)
    assert effective_rank(torch.diag(torch.tensor([2.0, 2, 2, 0, 0]))) == pytest.approx(3)
    assert effective_rank(torch.ones(4, 4)) == pytest.approx(1)
    assert effective_rank(torch.zeros(3, 3)) == 0


def test_alignment_is_1_with_the_kernel_of_the_labels_whatever_its_scale_and_constant() -> None:
    labels = torch.tensor([4, 4, 2, 2, 9])
    ideal = (labels == labels[:, None]).double()
    assert alignment(3 * ideal + 5, labels) == pytest.approx(1)
    assert alignment(ideal, torch.nn.functional.one_hot(labels)) == pytest.approx(1)
    assert alignment(torch.ones(5, 5), labels) == 0
    kernel = inputs(5) @ inputs(5).T
    middle = torch.eye(5).double() - 1 / 5
    first, second = (middle @ one @ middle for one in (kernel, ideal))
    expected = (first * second).sum() / (first.norm() * second.norm())
    assert alignment(kernel, labels) == pytest.approx(expected.item())
    assert alignment(kernel, ideal) == pytest.approx(expected.item())


def test_the_summed_logits_stand_for_all_outputs_better_in_a_wide_network() -> None:
    def error(width: int) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, width, bias=False), nn.ReLU(), nn.Linear(width, 5, bias=False)).double()
        for layer in model[::2]:
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
        x = inputs(6)
        return kronecker_error(tangent_kernel(model, x, kind="sum_of_logits"), tangent_kernel(model, x))

    assert error(1024) < error(16) / 3
    single = network(1)
    assert kronecker_error(tangent_kernel(single, inputs(3), kind="sum_of_logits"),
                           tangent_kernel(single, inputs(3))) < 1e-12  # fmt: skip


@pytest.mark.parametrize(("kind", "ridge"), [("full", 0.0), ("full", 0.1), ("sum_of_logits", 0.1), ("trace", 1e-6)])
def test_regression_solves_its_system(kind: str, ridge: float) -> None:
    model, x, z = network(), inputs(4), inputs(3, seed=1)
    targets = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    now, there = model(x).detach(), model(z).detach()
    kernel, cross = tangent_kernel(model, x, kind=kind), tangent_kernel(model, z, x, kind)
    found = tangent_regression(kernel, cross, targets, now, there, ridge)
    identity = torch.eye(3).double()
    whole, across = (one if kind == "full" else one[:, :, None, None] * identity for one in (kernel, cross))
    whole, across = (one.permute(0, 2, 1, 3).reshape(one.shape[0] * 3, -1) for one in (whole, across))
    weights = torch.linalg.inv(whole + ridge * torch.eye(12).double()) @ (targets - now).flatten()
    torch.testing.assert_close(found, there + (across @ weights).reshape(3, 3), rtol=1e-5, atol=1e-6)
    at_home = tangent_regression(kernel, kernel, targets, now, now, ridge)
    assert (at_home - targets).norm() < (now - targets).norm() if ridge else torch.allclose(at_home, targets)


def test_a_singular_kernel_asks_for_a_ridge() -> None:
    kernel, zeros = torch.zeros(3, 3), torch.zeros(3, 2)
    with pytest.raises(RuntimeError, match=r"ridge=0\.0 is too small for a kernel that is singular"):
        tangent_regression(kernel, kernel, zeros + 1, zeros, zeros)


def test_regression_refuses_what_does_not_fit() -> None:
    kernel, rows = torch.eye(3), torch.zeros(3, 2)
    for arguments, message in (
        ((kernel, kernel, rows, rows, rows, -1.0), "ridge=-1.0 must be at least 0"),
        ((kernel, kernel, rows[:2], rows, rows), r"targets of shape \(2, 2\) must be \(3, 2\)"),
        ((kernel, kernel[:2], rows, rows, rows), r"cross of shape \(2, 3\) must be \(3, 3\)"),
        ((kernel, kernel, rows, rows[:2], rows), r"now of shape \(2, 2\) must be \(3, O\)"),
        ((kernel, kernel, rows, rows, rows[:, :1]), r"now_there of shape \(3, 1\) must be \(M, 2\)"),
        ((torch.zeros(3, 3, 4, 4), kernel, rows, rows, rows), r"kernel of shape \(3, 3, 4, 4\) must be"),
        ((torch.zeros(3, 2), kernel, rows, rows, rows), r"kernel of shape \(3, 2\) must be \(N, N\)"),
    ):
        with pytest.raises(InputError, match=message):
            tangent_regression(*arguments)
    for call, message in (
        (lambda: spectrum(rows), r"kernel of shape \(3, 2\)"),
        (lambda: alignment(rows, kernel), r"kernel of shape \(3, 2\) must be \(N, N\)"),
        (lambda: alignment(kernel, torch.zeros(2)), r"labels of shape \(2,\) must have the 3 rows"),
        (lambda: kronecker_error(kernel, rows), r"full of shape \(3, 2\) \(N, M, O, O\)"),
        (lambda: faithfulness(rows, rows, [1]), r"labels of shape \(1,\)"),
        (lambda: faithfulness(rows, rows, [0, 1, -1]), "labels from -1 to 1 must be columns, 0 to 1"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def classes(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return points of three clouds, and their classes 2, 5 and 7."""
    labels = torch.arange(count) % 3
    return inputs(count, seed) * 0.3 + 2 * torch.eye(3, 4).double()[labels], torch.tensor([2, 5, 7])[labels]


@pytest.mark.parametrize("settings", [{}, {"kernel": "sum_of_logits"}, {"projection": 40}])
def test_a_surrogate_is_a_linear_model_on_cosines_and_its_attributions_add_up(settings: dict) -> None:
    model, (x, y), (z, true) = network(), classes(24), classes(9, seed=1)
    surrogate = TangentSurrogate(model, **settings).fit(x, y)
    kind = {"kind": surrogate.kernel}
    if "projection" in settings:
        kind = {"kind": "projected", "projection": 40}
    cosines, across = (tangent_kernel(model, *one, normalize=True, **kind).numpy() for one in ((x,), (z, x)))
    expected = SGDClassifier(loss="log_loss", alpha=1e-2, class_weight="balanced", random_state=0).fit(cosines, y)
    np.testing.assert_allclose(surrogate.coef_, expected.coef_)
    np.testing.assert_allclose(surrogate.predict_proba(z), expected.predict_proba(across))
    assert (surrogate.predict(z) == true.numpy()).all()
    np.testing.assert_allclose(surrogate.attribute(z).sum(2), surrogate.decision_function(z))
    given = TangentSurrogate(kernel="precomputed").fit(cosines, y)
    np.testing.assert_allclose(given.attribute(across), surrogate.attribute(z))
    assert surrogate.score(z, true) == 1


def test_of_two_classes_there_is_one_regression() -> None:
    x, y = classes(12)
    surrogate = clone(TangentSurrogate(network(1))).fit(x.float().numpy(), (y == 2).numpy())
    assert surrogate.attribute(x[:4]).shape == (4, 1, 12)
    assert surrogate.predict_proba(x[:4]).shape == (4, 2)
    assert (surrogate.predict(x) == (y == 2).numpy()).mean() > 0.7


def test_surrogates_refuse_bad_input() -> None:
    x, y = classes(6)
    with pytest.raises(NotFittedError):
        TangentSurrogate(network()).predict(x)
    for surrogate, points, message in (
        (TangentSurrogate(network(), "ntk"), x, "kernel='ntk' is not one of trace, sum_of_logits, precomputed"),
        (TangentSurrogate(), x, "model=None must be a torch.nn.Module, unless kernel='precomputed'"),
        (TangentSurrogate(network(), "precomputed"), x, "kernel='precomputed' needs neither model nor projection"),
        (TangentSurrogate(kernel="precomputed"), x, r"X of shape \(6, 4\) must be \(N, N\)"),
        (TangentSurrogate(network(), alpha=0), x, "alpha=0 must be a positive number"),
        (TangentSurrogate(network(), projection=10**6), x, "dim=1000000 must be at most"),
    ):
        with pytest.raises(InputError, match=message):
            surrogate.fit(points, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TangentSurrogate(network()).fit(x, y[:3])
    given = TangentSurrogate(kernel="precomputed").fit(np.eye(6), y)
    with pytest.raises(InputError, match=r"X of shape \(2, 5\) must have 6 columns"):
        given.predict(np.zeros((2, 5)))


def test_faithfulness_is_the_tau_of_the_true_class_without_certain_samples() -> None:
    first = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1], [0.0, 1.0], [0.6, 0.4]])
    second = np.array([[0.3, 0.7], [0.6, 0.4], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    labels = [1, 0, 0, 1, 0]
    expected = kendalltau([0.8, 0.5, 0.9, 0.6], [0.7, 0.6, 0.4, 0.1]).statistic
    assert faithfulness(first, second, labels) == pytest.approx(expected)
    assert math.isnan(faithfulness(first[:1], second[:1], labels[:1]))


def test_a_report_has_the_kernel_whole_and_by_modules() -> None:
    model, (x, y) = network(), classes(9)
    report = tangent_report(model, x, y)
    kernel, layers = tangent_kernel(model, x, kind="trace"), tangent_kernel(model, x, kind="layers")
    torch.testing.assert_close(report.kernel, kernel)
    assert report.alignment == pytest.approx(alignment(kernel, y))
    assert report.effective_rank == pytest.approx(effective_rank(kernel))
    assert report.mean == pytest.approx(kernel.diagonal().mean().item())
    assert report.largest == pytest.approx((spectrum(kernel)[0] / kernel.trace()).item())
    assert [part.name for part in report.layers] == ["0", "2"]
    assert sum(part.share for part in report.layers) == pytest.approx(1)
    assert report.layers[1].alignment == pytest.approx(alignment(layers["2.weight"] + layers["2.bias"], y))
