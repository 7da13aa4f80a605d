"""UltraGCN's constants and loss against loops, the limit of GCN, and weighted cross entropy."""

import math

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives import infinite_layers as module
from convnn.objectives.infinite_layers import infinite_layers, pair_weights, ultra_loss

USERS, ITEMS = 6, 8
PAIRS = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 4, 4, 4, 0], [0, 3, 1, 3, 2, 5, 4, 6, 0, 3, 3]])  # user 5, item 7: none
ONCE = sorted(set(map(tuple, PAIRS.T.tolist())))


def degree(end: int, number: int) -> int:
    return sum(pair[end] == number for pair in ONCE)


def together(i: int, j: int, zero_diagonal: bool) -> int:
    if zero_diagonal and i == j:
        return 0
    return sum((u, i) in ONCE and (u, j) in ONCE for u in range(USERS))


@pytest.mark.parametrize("zero_diagonal", [False, True])
@pytest.mark.parametrize("block", [1 << 24, ITEMS])
def test_constants(zero_diagonal: bool, block: int, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    found = infinite_layers(PAIRS, USERS, ITEMS, 4, zero_diagonal=zero_diagonal)
    for u in range(USERS):
        d = degree(0, u)
        assert found.user_factors[u].item() == pytest.approx(math.sqrt(d + 1) / d if d else math.inf)
    sums = [sum(together(i, j, zero_diagonal) for j in range(ITEMS)) for i in range(ITEMS)]
    for i in range(ITEMS):
        assert found.item_factors[i].item() == pytest.approx(1 / math.sqrt(degree(1, i) + 1))
        omega = {
            j: together(i, j, zero_diagonal) * math.sqrt(sums[i] + 1) / sums[i] / math.sqrt(sums[j] + 1)
            for j in range(ITEMS)
            if together(i, j, zero_diagonal)
        }
        best = sorted(omega, key=lambda j: (-round(omega[j], 12), j))[:4]
        expected = [omega[j] for j in best]
        assert found.weights[i, : len(best)].tolist() == pytest.approx(expected)
        assert found.neighbors[i].tolist()[len(best) :] == [-1] * (4 - len(best))
        assert found.weights[i, len(best) :].eq(0).all()
        assert {round(omega[j], 9) for j in found.neighbors[i].tolist() if j >= 0} == {round(w, 9) for w in expected}


def test_the_factors_are_the_limit_of_gcn() -> None:
    gcn_norm = pytest.importorskip("torch_geometric.nn.conv.gcn_conv").gcn_norm
    pairs = torch.tensor([[0, 0, 1, 1, 2, 3, 3], [0, 1, 1, 2, 2, 3, 0]])  # connected
    users, items = 4, 4
    both = pairs + torch.tensor([[0], [users]])
    index, weight = gcn_norm(
        torch.cat([both, both.flip(0)], 1), None, users + items, add_self_loops=True, dtype=torch.double
    )
    matrix = torch.zeros(users + items, users + items, dtype=torch.double).index_put_((*index.flip(0),), weight)
    limit = torch.linalg.matrix_power(matrix, 4096) @ torch.rand(users + items, 3, dtype=torch.double)
    found = infinite_layers(pairs, users, items, 1)
    beta = torch.zeros(users, items, dtype=torch.double)
    beta[tuple(pairs)] = found.user_factors[pairs[0]] * found.item_factors[pairs[1]]
    torch.testing.assert_close(limit[:users], beta @ limit[users:])


def batch() -> tuple:
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(n, 3, dtype=torch.double, generator=generator).requires_grad_() for n in (USERS, ITEMS)]
    users, chosen = PAIRS[:, [0, 4, 8, 0]]
    return tuple(tables), users, chosen, torch.randint(ITEMS, (4, 5), generator=generator)


def test_the_loss_and_its_gradients_are_those_of_loops() -> None:
    tables, users, chosen, drawn = batch()
    constants = infinite_layers(PAIRS, USERS, ITEMS, 3)
    weights = (0.3, 1.0, 0.2, 0.8)
    found = ultra_loss(tables, constants, users, chosen, drawn, weights=weights, negative_weight=7.0)
    choices = similar = torch.zeros((), dtype=torch.double)
    for b, (u, p) in enumerate(zip(users.tolist(), chosen.tolist(), strict=True)):
        beta = [(constants.user_factors[u] * constants.item_factors[i]).item() for i in range(ITEMS)]
        choices = choices - (0.3 + beta[p]) * F.logsigmoid(tables[0][u] @ tables[1][p])
        for n in drawn[b].tolist():
            choices = choices - 7 / 5 * (0.2 + 0.8 * beta[n]) * F.logsigmoid(-tables[0][u] @ tables[1][n])
        for j, omega in zip(constants.neighbors[p].tolist(), constants.weights[p].tolist(), strict=True):
            if j >= 0:
                similar = similar - omega * F.logsigmoid(tables[0][u] @ tables[1][j])
    torch.testing.assert_close(tuple(found), (choices, similar))
    slopes = [
        torch.autograd.grad(one + 2 * other, tables, retain_graph=True) for one, other in [found, (choices, similar)]
    ]
    torch.testing.assert_close(*slopes)


def test_constant_weights_are_weighted_logistic_factorisation() -> None:
    tables, users, chosen, drawn = batch()
    constants = infinite_layers(PAIRS, USERS, ITEMS, 3)
    found = ultra_loss(tables, constants, users, chosen, drawn, weights=(1, 0, 1, 0), negative_weight=5.0)
    items = torch.cat([chosen[:, None], drawn], 1)
    scores = torch.einsum("bc,bmc->bm", tables[0][users], tables[1][items])
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    torch.testing.assert_close(found.choices, F.binary_cross_entropy_with_logits(scores, labels, reduction="sum"))


def test_large_scores_stay_finite() -> None:
    tables = (torch.full((USERS, 1), 30.0), torch.full((ITEMS, 1), -3.0))
    constants = infinite_layers(PAIRS, USERS, ITEMS, 3).to("cpu", torch.float32)
    found = ultra_loss(tables, constants, PAIRS[0, :1], PAIRS[1, :1], torch.tensor([[7]]))
    assert found.similar.item() == pytest.approx(90 * constants.weights[0].sum().item())


def call(**changes) -> None:
    tables, users, chosen, drawn = batch()
    given = {"embeddings": tables, "constants": infinite_layers(PAIRS, USERS, ITEMS, 3)}
    ultra_loss(**(given | {"users": users, "positives": chosen, "negatives": drawn} | changes))


WRONG = {
    "neighbours": (
        lambda: infinite_layers(PAIRS, USERS, ITEMS, 9),
        "^num_neighbors=9 must lie between 1 and 8, the num",
    ),
    "none": (lambda: infinite_layers(PAIRS, USERS, ITEMS, 0), "^num_neighbors=0 must lie between 1 and 8"),
    "nothing": (lambda: infinite_layers(PAIRS[:, :0], USERS, ITEMS, 1), r"^edge_index of shape \(2, 0\) must have at"),
    "ids": (lambda: infinite_layers(PAIRS, USERS, 6, 1), "^edge_index has items from 0 to 6; they must lie between 0"),
    "shape": (lambda: call(negatives=torch.zeros(4, dtype=torch.long)), r"^negatives of shape \(4,\) must be \(4, M\)"),
    "M": (
        lambda: call(negatives=torch.zeros(4, 0, dtype=torch.long)),
        r"^negatives of shape \(4, 0\) must be \(4, M\)",
    ),
    "pairs": (lambda: call(positives=torch.zeros(3, dtype=torch.long)), r"^users of shape \(4,\) and positives of sha"),
    "item": (lambda: call(negatives=torch.full((4, 1), 8)), r"^negatives must be int64 between 0 and 7, not \[\[8\]"),
    "w": (lambda: call(weights=(1, 1, -1, 1)), "^w3=-1 must be at least 0$"),
    "weight": (lambda: call(negative_weight=-1.0), "^negative_weight=-1.0 must be at least 0$"),
    "unknown": (lambda: call(users=torch.tensor([0, 5, 0, 0])), "^users has 5, who has no interaction$"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(wrong, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()


def test_weights_of_users_without_interactions_are_refused() -> None:
    constants = infinite_layers(PAIRS, USERS, ITEMS, 1)
    with pytest.raises(InputError, match=r"^users has 5, who has no interaction$"):
        pair_weights(constants, torch.tensor([5]), torch.tensor([0]), torch.tensor([[0]]), (1, 1, 1, 1))
