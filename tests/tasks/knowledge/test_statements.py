"""Statements with qualifiers: experts, the interaction on a board, and the network that completes them."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.tasks.knowledge import (
    ChequeredInteraction,
    StatementReader,
    TopKExperts,
    smoothed_cross_entropy,
    statement_loss,
)

SETTINGS = {"shape": (2, 4), "layers": 1, "hidden": 8, "experts": 3, "channels": 2, "kernel": 3, "dropout": 0.0}


def statements(**settings) -> StatementReader:
    torch.manual_seed(0)
    return StatementReader(9, 3, **SETTINGS | settings).double()


def tokens() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids, contexts = (torch.randint(7, 22, size, generator=generator) for size in ((4, 7), (2, 4, 5)))
    ids[2, 5:], contexts[0, 1, 3:] = 0, 0
    ids[:, 2] = contexts[:, :, 2] = 1
    return ids, contexts, torch.randint(7, 22, (2, 4, 3), generator=generator)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_every_token_goes_through_its_best_experts(k: int) -> None:
    torch.manual_seed(0)
    experts = TopKExperts(5, 6, 4, k).double()
    x = torch.randn(2, 7, 5, dtype=torch.double, requires_grad=True)
    rows = []
    for token in x.view(-1, 5):
        gates = experts.gate(token)
        best = sorted(range(4), key=lambda e: -gates[e].item())[:k]
        total = sum(gates[e].exp() for e in best)
        rows.append(sum(gates[e].exp() / total * experts.out[e](experts.into[e](token).relu()) for e in best))
    expected, upstream = torch.stack(rows).view(2, 7, 5), torch.randn(2, 7, 5, dtype=torch.double)
    torch.testing.assert_close(experts(x), expected)
    slopes = [torch.autograd.grad(y, [x, experts.gate.weight], upstream) for y in (experts(x), expected)]
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (slopes[0][1].abs().max() < 1e-12) == (k == 1)  # a softmax over one value


def test_a_board_is_a_chequerboard_and_has_no_edge() -> None:
    torch.manual_seed(0)
    board = ChequeredInteraction((3, 4), channels=2, kernel=3, boards=2).double().eval()
    assert board.order.sort(dim=1).values.equal(torch.arange(24).expand(2, 24))
    is_second = (board.order >= 12).view(2, 4, 6)
    assert is_second[0, 0].tolist() == [False, True] * 3
    assert is_second[0, 1].tolist() == [True, False] * 3
    assert is_second[1].equal(~is_second[0])
    a, b = torch.randn(2, 5, 12, dtype=torch.double)
    image = torch.cat([a, b], 1)[:, board.order].view(5, 2, 6, 4) / (1 + 1e-5) ** 0.5
    found = torch.zeros(5, 4, 6, 4, dtype=torch.double)
    for channel in range(4):  # of boards, then of filters
        for i in range(3):
            for j in range(3):
                shifted = image[:, channel // 2].roll((1 - i, 1 - j), (1, 2))
                found[:, channel] += board.filters[channel % 2, 0, i, j] * shifted
    out = board.linear((found / (1 + 1e-5) ** 0.5).relu().flatten(1)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(torch.cat(board(a, b), 1), out)


@pytest.mark.parametrize("joined", ["product", "sum", "complex"])
def test_entities_are_ranked_by_the_statement_alone(joined: str) -> None:
    network, (ids, contexts, qualifiers) = statements(joined=joined).eval(), tokens()
    logits = network(ids, contexts, qualifiers)
    assert (logits.statement.shape, logits.neighbors.shape) == ((4, 22), (2, 4, 22))
    torch.testing.assert_close(network.score(ids), logits.statement[:, 7:16])
    longer = F.pad(ids, (0, 2))  # more padding
    torch.testing.assert_close(network.score(longer), network.score(ids))
    torch.testing.assert_close(network(longer, contexts, qualifiers).mixed, logits.mixed)
    published = statements(joined=joined, mask_padding=False).eval()
    assert not torch.allclose(published(longer, contexts, qualifiers).mixed, published(ids, contexts, qualifiers).mixed)


def test_orders_are_kept_with_the_weights() -> None:
    one, other = statements(), StatementReader(9, 3, **SETTINGS).double()
    assert not one.interaction.order.equal(other.interaction.order)
    other.load_state_dict(one.state_dict())
    ids, contexts, qualifiers = tokens()
    torch.testing.assert_close(
        one.eval()(ids, contexts, qualifiers).mixed, other.eval()(ids, contexts, qualifiers).mixed
    )


def test_smoothing_leaves_out_the_label() -> None:
    logits, label = torch.randn(3, 5, dtype=torch.double), torch.tensor([0, 4, 2])
    target = torch.full((3, 5), 0.3 / 4, dtype=torch.double).scatter(1, label[:, None], 0.7)
    torch.testing.assert_close(smoothed_cross_entropy(logits, label, 0.3), F.cross_entropy(logits, target))
    torch.testing.assert_close(smoothed_cross_entropy(logits, label, 0.0), F.cross_entropy(logits, label))


def test_it_learns() -> None:
    network, (ids, contexts, qualifiers) = statements(), tokens()
    label, head = torch.tensor([0, 1, 5, 3]), (ids[:, 0] - 7).clamp(0, 8)
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.02), []
    for _ in range(25):
        optimizer.zero_grad()
        loss = statement_loss(network(ids, contexts, qualifiers), label, head, smoothing=0.1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None for p in network.parameters())


IDS, CONTEXTS, QUALIFIERS = tokens()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statements(heads=3), "heads=3 must divide 8"),
        (lambda: statements(top_k=4), "top_k=4 must be at most 3"),
        (lambda: statements(joined="complex", shape=(3, 3), heads=1), "even number of channels"),
        (lambda: statements(joined="difference"), "joined='difference'"),
        (lambda: statements(kernel=2), "kernel=2"),
        (lambda: ChequeredInteraction((2, 4))(torch.ones(3, 7), torch.ones(3, 7)), r"must be \(B, 8\)"),
        (lambda: statements()(IDS[:, :6], CONTEXTS, QUALIFIERS), "ids of shape"),
        (lambda: statements()(IDS, CONTEXTS[:0], QUALIFIERS), "contexts of shape"),
        (lambda: statements()(IDS + 22, CONTEXTS, QUALIFIERS), "beyond the vocabulary"),
        (lambda: statements()(IDS, CONTEXTS[:, :3], QUALIFIERS), "4 statements"),
        (lambda: smoothed_cross_entropy(torch.ones(2, 3), torch.tensor([0, 1]), 1.0), "smoothing=1.0"),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
