"""Classifiers of unseen classes from a graph of words."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.tasks.knowledge import UnseenClasses, ZeroShotGCN, zero_shot_hits, zero_shot_loss

NODES = 9


@pytest.fixture
def edges() -> Tensor:
    """A tree in which the last node is alone."""
    child = torch.arange(1, NODES - 1)
    there = torch.stack([child, child // 2])
    return torch.cat([there, there.flip(0)], dim=1)


def test_it_is_a_stack_of_graph_convolutions(edges: Tensor) -> None:
    pyg = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    ours = ZeroShotGCN(4, 3, (5, 6)).double()
    x = torch.randn(NODES, 4, dtype=torch.double, requires_grad=True)
    h = x
    for number, layer in enumerate(ours.layers):
        theirs = pyg.GCNConv(layer.in_features, layer.out_features, bias=False).double()
        theirs.lin.weight = layer.weight
        h = theirs(h, edges)
        h = F.leaky_relu(h, 0.2) if number < 2 else F.normalize(h, eps=1e-6)
    out, upstream = ours(x, edges), torch.randn(NODES, 3, dtype=torch.double)
    torch.testing.assert_close(out, h)
    slopes = [torch.autograd.grad(y, [x, *ours.parameters()], upstream) for y in (out, h)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(ours(x, torch.cat([edges, edges], 1)), out)  # an edge counts once


def test_the_loss_and_hits_in_loops() -> None:
    torch.manual_seed(0)
    prediction, target = F.normalize(torch.randn(NODES, 3)), torch.randn(NODES, 3)
    seen, weight = torch.tensor([4, 1, 7]), torch.randn(2, 2)
    far = sum(float((prediction[i] - target[i] / target[i].norm()).square().sum()) for i in seen)
    expected = (NODES / 3) ** 2 / 2 * far + 0.1 / 2 * float((weight**2).sum())
    assert zero_shot_loss(prediction, target, seen, [weight], weight_decay=0.1).item() == pytest.approx(expected, 1e-5)
    features, labels, candidates = torch.randn(6, 3), torch.tensor([0, 2, 2, 5, 8, 1]), torch.tensor([0, 2, 5, 1])
    hits = 0
    for feature, label in zip(features, labels, strict=True):
        ranked = sorted(candidates.tolist(), key=lambda c: -float(feature @ target[c]))
        hits += int(label) in ranked[:2]
    assert zero_shot_hits(features, labels, target, candidates, 2) == pytest.approx(hits / 6)
    assert zero_shot_hits(features, labels, target, candidates, 99) == pytest.approx(5 / 6)  # 8 is no candidate


def test_classifiers_of_unseen_classes_are_like_those_of_their_neighbours(edges: Tensor) -> None:
    torch.manual_seed(0)
    words = torch.randn(NODES, 4)
    seen = torch.tensor([0, 1, 2, 3, 5, 6, 8])
    true = torch.stack([words.sum(1), words[:, 0] - words[:, 1]], 1)
    model = UnseenClasses(words, edges, hidden_channels=(16,), epochs=150, lr=0.01).fit(true[seen], seen)
    fitted = model.predict_classifier(seen)
    torch.testing.assert_close(fitted.norm(dim=1), torch.ones(len(seen)))
    assert (fitted * F.normalize(true[seen])).sum(1).median() > 0.9
    assert model.predict_classifier(torch.tensor([4, 7])).shape == (2, 2)
    again = UnseenClasses(words, edges, hidden_channels=(16,), epochs=150, lr=0.01).fit(true[seen], seen)
    assert torch.equal(again.predict_classifier(seen), fitted)


def test_sums_and_lengths_of_word_vectors(edges: Tensor) -> None:
    torch.manual_seed(0)
    x = torch.rand(NODES, 4)
    x[3] = torch.tensor([1.0, -1, 2, -2])  # sums to 0
    by_sum = ZeroShotGCN(4, 3, (5,), normalize="sum")
    plain = ZeroShotGCN(4, 3, (5,))
    plain.load_state_dict(by_sum.state_dict())
    divided = x / x.sum(1, keepdim=True).where(x.sum(1, keepdim=True) != 0, torch.inf)
    torch.testing.assert_close(by_sum(x, edges), plain(divided, edges))


ROWS = torch.eye(NODES)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: ZeroShotGCN(4, 3, (5,), normalize="max"), "normalize='max'"),
        (lambda e: ZeroShotGCN(4, 3, (0,)), "channels=0"),
        (lambda e: ZeroShotGCN(4, 3)(torch.ones(NODES, 5), e), "x of shape"),
        (lambda e: ZeroShotGCN(4, 3, (5,))(torch.ones(3, 4), e), "edge_index has sources"),
        (lambda e: ZeroShotGCN(4, 3, (5,))(torch.ones(NODES, 4), e[:, :3]), "both directions"),
        (lambda e: zero_shot_loss(ROWS, ROWS, torch.tensor([], dtype=torch.long)), "train_index of shape"),
        (lambda e: zero_shot_loss(ROWS, ROWS, torch.tensor([1, 1])), "each class once"),
        (lambda e: zero_shot_loss(ROWS, ROWS, torch.tensor([NODES])), "train_index has classes"),
        (lambda e: zero_shot_loss(ROWS, 0 * ROWS, torch.tensor([2])), "class 2, which has examples, is all 0"),
        (lambda e: zero_shot_loss(ROWS, ROWS[:3], torch.tensor([1])), "must both be"),
        (lambda e: zero_shot_loss(ROWS, ROWS, torch.tensor([1]), weight_decay=-1.0), "weight_decay=-1.0"),
        (lambda e: zero_shot_hits(ROWS, e[0, :NODES], ROWS, e[0, :0], 1), "candidates of shape"),
        (lambda e: zero_shot_hits(ROWS, e[0, :NODES], ROWS, e[0, :2], 0), "k=0"),
        (lambda e: UnseenClasses(ROWS, e).predict_classifier(torch.tensor([0])), "call fit first"),
        (lambda e: UnseenClasses(ROWS, e).fit(ROWS[:2], torch.tensor([0, 1, 2])), "a row a seen class"),
    ],
)
def test_bad_input(call, words: str, edges: Tensor) -> None:
    with pytest.raises(InputError, match=words):
        call(edges)
