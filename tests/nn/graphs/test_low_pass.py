"""Low-pass filters and LCFN against dense eigenvectors, HGNN's matrix and the layer without a graph."""

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.nn import graphs
from convnn.nn.graphs.spectra import low_pass
from convnn.objectives import ranking
from convnn.ops import select

USERS, ITEMS = 9, 7
PAIRS = torch.tensor([[0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 7], [0, 3, 1, 2, 6, 2, 4, 0, 5, 1, 3, 4, 6, 0, 2]])


def laplacians(weighted: bool) -> tuple[Tensor, Tensor]:
    """Return I - Dv^-1/2 H W De^-1 H^T Dv^-1/2 of users and items, entry by entry."""
    members, found = torch.zeros(USERS, ITEMS, dtype=torch.double), []
    members[tuple(PAIRS)] = 1
    for one in (members, members.T):
        sizes = one.sum(0).clamp_min(1)
        weights = 1 / sizes if weighted else torch.ones_like(sizes)
        degrees = one @ weights
        matrix = torch.eye(len(one), dtype=torch.double)
        for a in range(len(one)):
            for b in range(len(one)):
                if degrees[a] and degrees[b]:
                    shared = (one[a] * one[b] * weights / sizes).sum()
                    matrix[a, b] -= shared / (degrees[a] * degrees[b]).sqrt()
        found.append(matrix)
    return found[0], found[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_bases_are_the_smoothest_eigenvectors(weighted: bool) -> None:
    widths = (3, 4)
    bases = graphs.hypergraph_bases(PAIRS, USERS, ITEMS, *widths, weighted=weighted)
    for basis, matrix, width in zip(bases, laplacians(weighted), widths, strict=True):
        values, vectors = torch.linalg.eigh(matrix)
        assert values[width] - values[width - 1] > 1e-6
        smooth = vectors[:, :width]
        torch.testing.assert_close(basis @ basis.T, smooth @ smooth.T)
        torch.testing.assert_close((basis * (matrix @ basis)).sum(0), values[:width])
        largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
        assert bool((largest > 0).all())


def test_few_vectors_of_many_vertices_are_those_of_the_dense_decomposition(monkeypatch) -> None:
    torch.manual_seed(0)
    pairs = (torch.rand(40, 30) < 0.2).nonzero().T
    dense = graphs.hypergraph_bases(pairs, 40, 30, 4, 3)
    monkeypatch.setattr(low_pass, "SPARSEST", 8)
    sparse = graphs.hypergraph_bases(pairs, 40, 30, 4, 3)
    for one, other in zip(dense, sparse, strict=True):
        torch.testing.assert_close(one @ one.T, other @ other.T)
    again = graphs.hypergraph_bases(pairs, 40, 30, 4, 3)
    assert all(torch.equal(one, other) for one, other in zip(sparse, again, strict=True))


def test_the_matrix_of_users_is_that_of_hgnn() -> None:
    root, _ = graphs.hypergraph_roots(PAIRS, USERS, ITEMS)
    layer = graphs.HGNNConv(USERS, USERS, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(USERS))
    unit = torch.eye(USERS, dtype=torch.double)
    connected = PAIRS[0].bincount(minlength=USERS) > 0
    ours = torch.from_numpy((root @ root.T).toarray())
    torch.testing.assert_close(ours[connected], layer(unit, PAIRS).detach()[connected])


def test_a_filter_is_its_dense_matrix() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 3, dtype=torch.double)).Q
    layer, x = graphs.LowPassFilter(basis), torch.randn(6, 2, dtype=torch.double, requires_grad=True)
    dense = basis @ layer.weight.diag() @ basis.T
    torch.testing.assert_close(layer(x), dense @ x)
    assert torch.autograd.gradcheck(layer, (x,), fast_mode=True)
    slopes = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight])
    torch.testing.assert_close(slopes, torch.autograd.grad((dense @ x).square().sum(), [x, layer.weight]))


def test_all_frequencies_with_factors_of_one_leave_no_graph() -> None:
    model = graphs.LCFN(USERS, ITEMS, dim=3, num_layers=2, user_frequencies=USERS, item_frequencies=ITEMS).double()
    model.prepare(PAIRS)
    with torch.no_grad():
        for factors in (*model.user_factors, *model.item_factors):
            factors.fill_(1.0)
    expected = []
    for table in (model.users.weight, model.items.weight):
        rows = [table]
        for matrix in model.transforms:
            rows.append((rows[-1] @ matrix).sigmoid())
        expected.append(torch.cat(rows, 1))
    torch.testing.assert_close(model(PAIRS), tuple(expected))


def test_without_layers_it_is_matrix_factorisation() -> None:
    model = graphs.LCFN(USERS, ITEMS, dim=3, num_layers=0, user_frequencies=1, item_frequencies=1)
    users, items = model(PAIRS)
    assert torch.equal(users, model.users.weight)
    assert torch.equal(items, model.items.weight)
    assert model.decaying() == []


def test_low_frequencies_rank_better_than_all() -> None:
    from convnn.data.interactions import hidden_groups

    train, test = hidden_groups(0)
    everybody, found = torch.arange(300), {}
    masks = [ranking.interaction_mask(pairs, everybody, 300, 240) for pairs in (train, test)]
    for k in (8, 240):
        users, items = graphs.hypergraph_bases(train, 300, 240, k, k)
        scores = users @ (users.T @ masks[0].double() @ items) @ items.T
        found[k] = ranking.recall(select.highest(scores, 20, excluded=masks[0]), masks[1])
    assert found[8] > 4 * found[240]


def model(**settings) -> graphs.LCFN:
    return graphs.LCFN(USERS, ITEMS, **({"user_frequencies": 2, "item_frequencies": 2} | settings))


WRONG = {
    "users": (
        lambda: model(user_frequencies=10),
        "^user_frequencies=10 must lie between 1 and 9, the number of users$",
    ),
    "items": (lambda: model(item_frequencies=0), "^item_frequencies=0 must lie between 1 and 7, the number of items$"),
    "layers": (lambda: model(num_layers=-1), "^num_layers=-1 must be an integer of at least 0$"),
    "dim": (lambda: model(dim=0), "^dim=0 must be an integer of at least 1$"),
    "nothing": (lambda: model().prepare(PAIRS[:, :0]), r"^edge_index of shape \(2, 0\) must have at least one inter"),
    "ids": (lambda: model().prepare(PAIRS + 3), "^edge_index has users from 3 to 10; they must lie between 0 and 8$"),
    "basis": (lambda: graphs.LowPassFilter(torch.ones(3)), r"^basis of shape \(3,\) and torch.float32 must be float"),
    "rows": (
        lambda: graphs.LowPassFilter(torch.ones(3, 1))(torch.ones(4, 2)),
        r"^basis of shape \(3, 1\) must have 4 rows, as x$",
    ),
    "decay": (lambda: ranking.bpr_loss(torch.ones(1), torch.ones(1), decay=-1), "^decay=-1 must be at least 0$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
