"""k-means, Student-t assignments and their targets: loops, limits, gradients and bad input."""

import warnings

import pytest
import torch
from sklearn.cluster import KMeans

from convnn.errors import InputError
from convnn.ops.centroids import k_means, lloyd, student_t_assignment, target_distribution
from small_graphs import features


def test_k_means_finds_what_is_apart() -> None:
    rows = torch.cat([features(5, 2) / 10, features(5, 2) / 10 + 9])
    labels, centers = k_means(rows, 2)
    assert labels.dtype == torch.long
    assert (labels[:5] == labels[0]).all()
    assert (labels[5:] == 1 - labels[0]).all()
    torch.testing.assert_close(centers[labels[[0, 5]]], torch.stack([rows[:5].mean(0), rows[5:].mean(0)]))
    assert k_means(torch.ones(4, 2), 3).labels.shape == (4,)  # fewer places than clusters


@pytest.mark.parametrize("freedom", [1.0, 2.5])
def test_assignments_and_targets_in_loops(freedom: float) -> None:
    z, mu = features(7, 3), features(4, 3, seed=2)
    q = torch.empty(7, 4, dtype=torch.double)
    for i in range(7):
        for k in range(4):
            q[i, k] = (1 + sum((z[i, c] - mu[k, c]) ** 2 for c in range(3)) / freedom) ** (-(freedom + 1) / 2)
    q /= q.sum(1, keepdim=True)
    found = student_t_assignment(z, mu, freedom=freedom)
    torch.testing.assert_close(found, q, rtol=0, atol=1e-15)
    p = torch.stack([q[:, k] ** 2 / q[:, k].sum() for k in range(4)], 1)
    torch.testing.assert_close(target_distribution(found), p / p.sum(1, keepdim=True), rtol=0, atol=1e-15)


def test_many_degrees_of_freedom_are_a_normal_distribution() -> None:
    z, mu = features(5, 3), features(2, 3, seed=2)
    normal = (-torch.cdist(z, mu).square() / 2).softmax(1)
    torch.testing.assert_close(student_t_assignment(z, mu, freedom=1e9), normal, rtol=0, atol=1e-7)


def test_a_target_has_no_gradient_and_an_assignment_has_one_also_at_a_centre() -> None:
    z, mu = features(5, 3).requires_grad_(), features(2, 3, seed=2).requires_grad_()
    torch.autograd.gradcheck(student_t_assignment, (z, mu))
    assert not target_distribution(student_t_assignment(z, mu)).requires_grad
    assert target_distribution(student_t_assignment(z, mu), detach=False).requires_grad
    at_center = student_t_assignment(mu, mu).diagonal().sum()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(at_center, [mu]))


def test_a_cluster_that_nobody_has_stays_empty() -> None:
    q = torch.tensor([[0.5, 0.5, 0], [1.0, 0, 0]])
    assert torch.equal(target_distribution(q)[:, 2], torch.zeros(2))


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"^clusters=4 must be at most the rows of features of shape \(3, 2\)"):
        k_means(features(3, 2), 4)
    with pytest.raises(InputError, match=r"^clusters=0 must be an integer of at least 1"):
        k_means(features(3, 2), 0)
    with pytest.raises(InputError, match=r"^features must be finite for k-means"):
        k_means(features(3, 2) / 0, 2)
    with pytest.raises(InputError, match=r"^freedom=0 must be a positive number"):
        student_t_assignment(features(3, 2), features(2, 2), freedom=0)
    with pytest.raises(InputError, match=r"^features of shape \(3, 2\) and centers of shape \(2, 3\) must be"):
        student_t_assignment(features(3, 2), features(2, 3))
    with pytest.raises(InputError, match=r"^assignment of shape \(2, 2\) must be \(N, K\), not negative"):
        target_distribution(torch.tensor([[1.0, 0], [0, 0]]))


@pytest.mark.parametrize("rounds", [0, 1, 3, 50])
def test_lloyd_is_that_of_scikit_learn_from_the_same_start(rounds: int) -> None:
    points = torch.randn(2, 60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = lloyd(points, points[:, :5], rounds=rounds)
    for rows, labels, centers in zip(points, *found, strict=True):
        theirs = [rows[:5].numpy(), None]
        if rounds:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it does not converge in so few rounds
                fitted = KMeans(5, init=theirs[0], n_init=1, algorithm="lloyd", max_iter=rounds, tol=0).fit(rows)
            theirs = [fitted.cluster_centers_, fitted.labels_]
        torch.testing.assert_close(centers, torch.from_numpy(theirs[0]), rtol=0, atol=1e-12)
        nearest = torch.cdist(rows, centers).argmin(1)
        assert torch.equal(labels, nearest)
        assert theirs[1] is None or labels.tolist() == theirs[1].tolist()


def test_lloyd_leaves_out_what_is_not_finite() -> None:
    points = torch.randn(1, 30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = torch.cat([points[:, :4], torch.full((1, 1, 3), torch.inf)], 1)
    more = torch.cat([points, torch.full((1, 2, 3), torch.nan)], 1)
    plain, found = lloyd(points, points[:, :4], rounds=4), lloyd(more, start, rounds=4)
    assert torch.equal(found.labels[:, :30], plain.labels)
    assert torch.equal(found.centers[:, :4], plain.centers)
    with pytest.raises(InputError, match="rounds=-1 must be an integer of at least 0"):
        lloyd(points, start, rounds=-1)


def test_a_centre_without_points_stays() -> None:
    points, start = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[0.0], [9.0]]])
    assert lloyd(points, start).centers.tolist() == [[[0.5], [9.0]]]
