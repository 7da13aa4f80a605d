"""How many neighbours a node keeps, against loops, and the filter that learns it."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.graphs import knn_graph
from convnn.graphs.build import (
    AdaptiveFilter,
    AdaptiveNeighbors,
    cut_edges,
    fit_filter,
    nearest_lists,
    prefix_quality,
    quality_cut,
    relative_huber,
    structure_space,
    symmetric_edges,
)


def points(nodes: int, channels: int, *, seed: int = 0) -> Tensor:
    return torch.randn(nodes, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(edges: Tensor, weights: Tensor, nodes: int) -> Tensor:
    out = torch.zeros(nodes, nodes, dtype=weights.dtype)
    for (source, target), weight in zip(edges.T.tolist(), weights, strict=True):
        assert out[target, source] == 0, "each edge once"
        out[target, source] = weight
    return out


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_quality_is_that_of_loops(beta: float) -> None:
    indices = nearest_lists(points(25, 3), 6).indices
    labels = torch.randint(-2, 3, (25,), generator=torch.Generator().manual_seed(1))
    found, cuts = prefix_quality(indices, labels, beta), quality_cut(indices, labels, beta)
    for i, own in enumerate(indices.tolist()):
        scores = []
        for m in range(1, 7):
            right = sum(bool(labels[j] == labels[i]) for j in own[:m])
            p, r = right / m, right / int((labels == labels[i]).sum())
            scores.append((1 + beta**2) * p * r / (beta**2 * p + r))
            assert found.precision[i, m - 1].item() == pytest.approx(p)
            assert found.recall[i, m - 1].item() == pytest.approx(r)
        assert found.score[i].tolist() == pytest.approx(scores)
        assert cuts[i] == 1 + int(np.argmax(np.round(scores, 12))), "the fewest of equal scores"


def test_edges_are_those_of_loops() -> None:
    x, K = points(15, 2), 8
    ranked = structure_space(*nearest_lists(x, K), 0.9)
    assert ranked.distances.max() > 1
    cuts = torch.randint(1, K + 1, (15,), generator=torch.Generator().manual_seed(0))
    cuts[:2] = torch.tensor([1, K])
    directed = torch.zeros(15, 15, dtype=torch.float64)
    for i in range(15):
        for j, d in zip(ranked.indices[i, 1 : cuts[i]].tolist(), ranked.distances[i, 1:].tolist(), strict=False):
            directed[i, j] = max(1 - d, 0)
    edges = cut_edges(*ranked, cuts)
    torch.testing.assert_close(dense(*edges, 15), directed)
    assert not (edges[0][1] == 0).any(), "it keeps itself alone"
    both = torch.maximum(directed, directed.T)
    torch.testing.assert_close(dense(*symmetric_edges(*edges, 15, normalize=False), 15), both)
    looped = both + torch.eye(15)
    torch.testing.assert_close(dense(*symmetric_edges(*edges, 15), 15), looped / looped.sum(1, keepdim=True))


def test_all_candidates_by_feature_are_the_symmetric_graph_of_the_nearest() -> None:
    x = points(40, 16)
    x[:, 0] += 4  # no cosine is negative
    edges, weights = AdaptiveNeighbors(6, lamb=1, normalize=False)(x)
    assert torch.equal(edges, knn_graph(x, 5, metric="cosine", keep="either"))
    torch.testing.assert_close(weights, torch.cosine_similarity(x[edges[0]], x[edges[1]]))


def test_cut_offs_may_be_one_number_a_number_each_or_learned() -> None:
    torch.manual_seed(0)
    x = points(20, 5).float()
    ranked = AdaptiveNeighbors(6).ranked(x)
    model = AdaptiveFilter(5, 4)
    with torch.no_grad():
        model.predict.bias.fill_(0.4)
    learned = model.cut(F.normalize(x, dim=1)[ranked.indices])
    assert model.training
    model.eval()
    shares = model(F.normalize(x, dim=1)[ranked.indices])
    expected = np.clip(np.round(shares.detach().numpy() * 6), 1, 6).astype(int)
    assert learned.tolist() == expected.tolist()
    assert len(set(learned.tolist())) > 1
    each = AdaptiveNeighbors(6, k=learned)(x)
    for found, expected in zip(AdaptiveNeighbors(6, k=model)(x), each, strict=True):
        assert torch.equal(found, expected)
    three = AdaptiveNeighbors(6, k=torch.full((20,), 3))(x)
    for found, expected in zip(AdaptiveNeighbors(6, k=3)(x), three, strict=True):
        assert torch.equal(found, expected)
    edges, weights = AdaptiveNeighbors(6, k=1)(x)
    assert edges.tolist() == [list(range(20))] * 2, "loops alone"
    assert weights.dtype == torch.float32


def test_filter_in_single_steps() -> None:
    torch.manual_seed(0)
    model, x = AdaptiveFilter(3, 4, dropout=0).double(), points(10, 3).reshape(2, 5, 3)
    assert sum(p.numel() for p in AdaptiveFilter(6, 8).parameters()) == 881
    first, second = model.lstm.all_weights

    def pass_over(rows: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor) -> list[Tensor]:
        h = c = torch.zeros(3, dtype=torch.float64)
        states = []
        for row in rows:
            i, f, g, o = (w_in @ row + b_in + w_state @ h + b_state).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return states

    for rows, share in zip(x, model(x), strict=True):
        forth, back = pass_over(rows, *first), pass_over(rows.flip(0), *second)[::-1]
        hidden = torch.stack([torch.cat(both) for both in zip(forth, back, strict=True)])
        mixed = (hidden @ model.project.weight.T + model.project.bias + rows) / 2**0.5
        u = (mixed / mixed.norm(dim=1, keepdim=True)).mean(0)
        u = u / u.norm()
        v = u
        for linear, slope in ((model.mlp[0], model.mlp[1].weight), (model.mlp[3], model.mlp[4].weight)):
            v = linear.weight @ v + linear.bias
            v = torch.where(v >= 0, v, slope * v)
        expected = model.predict.weight[0] @ ((u + v) / 2**0.5) + model.predict.bias[0]
        torch.testing.assert_close(share, expected)
    assert torch.autograd.gradcheck(model, x.requires_grad_())


def test_relative_huber_in_pieces() -> None:
    shares, targets = torch.tensor([0.4, 1.0, -0.5, 0.1]), torch.tensor([0.5, 0.25, 0.5, 0.1])
    expected = (0.2**2 / 2 + (3 - 0.5) + (2 - 0.5) + 0) / 4
    assert relative_huber(shares, targets).item() == pytest.approx(expected)


def test_filter_learns_where_to_cut() -> None:
    """Lists of one direction up to a place, and then of another one."""
    generator = torch.Generator().manual_seed(0)
    cuts = torch.randint(1, 9, (200,), generator=generator)
    centres = F.normalize(torch.randn(200, 2, 4, generator=generator), dim=2)
    lists = centres[torch.arange(200)[:, None], (torch.arange(8) >= cuts[:, None]).long()]
    torch.manual_seed(0)
    model = AdaptiveFilter(4, 16, dropout=0.0)
    before = relative_huber(model(lists), cuts / 8).item()
    fit_filter(model, lists, cuts, steps=80, batch_size=64, lr=0.1, warm_up=10, generator=generator)
    assert not model.training
    assert relative_huber(model(lists), cuts / 8).item() < before / 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: prefix_quality(i, torch.zeros(4, dtype=torch.long)), r"labels of shape \(4,\)"),
        (lambda i: prefix_quality(i, torch.zeros(3)), "float32 must be"),
        (lambda i: quality_cut(i, torch.zeros(3, dtype=torch.long), 0), "beta=0"),
        (lambda i: cut_edges(i, torch.zeros(3, 2), 0), "k has 0"),
        (lambda i: cut_edges(i, torch.zeros(3, 2), torch.tensor([1, 2, 3])), "k has 3"),
        (lambda i: cut_edges(i, torch.zeros(3, 2), torch.tensor([1, 2])), r"k of shape \(2,\)"),
        (lambda i: AdaptiveNeighbors(5, k=6), "k has 6; it must be from 1, the node itself, to 5"),
        (lambda i: AdaptiveNeighbors(0), "K=0"),
        (lambda i: AdaptiveNeighbors(5, lamb=2), "lamb=2"),
        (lambda i: AdaptiveNeighbors(5)(torch.ones(3, 2)), "K=5 must be at most 3"),
        (lambda i: AdaptiveFilter(0), "in_channels=0"),
        (lambda i: AdaptiveFilter(2, dropout=1), "dropout=1"),
        (lambda i: AdaptiveFilter(2)(torch.ones(3, 2)), r"must be \(B, K, 2\)"),
        (lambda i: fit_filter(AdaptiveFilter(2), torch.ones(3, 2, 2), torch.ones(3).long(), steps=3), "warm_up=128"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(torch.tensor([[0, 1], [1, 0], [2, 0]]))
