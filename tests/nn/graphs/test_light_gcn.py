"""LightGCN against the dense definition and PyTorch Geometric."""

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError

geometric = pytest.importorskip("torch_geometric.nn")

from convnn.nn import graphs  # noqa: E402
from convnn.objectives import ranking  # noqa: E402

USERS, ITEMS = 6, 7
PAIRS = torch.tensor([[0, 0, 1, 1, 2, 2, 2, 3, 3, 4], [0, 3, 3, 6, 1, 1, 5, 0, 2, 6]])
"""User 2 chose item 1 twice; user 5 and item 4 have nothing."""


def model(**settings) -> graphs.LightGCN:
    return graphs.LightGCN(USERS, ITEMS, dim=3, **settings).double()


def both_ways(pairs: Tensor = PAIRS) -> Tensor:
    edges = pairs + torch.tensor([[0], [USERS]])
    return torch.cat([edges, edges.flip(0)], dim=1)


def matrix() -> Tensor:
    """Return A, dense, with its normalisation."""
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.double)
    for user, item in PAIRS.T.tolist():
        adjacency[user, USERS + item] += 1
        adjacency[USERS + item, user] += 1
    roots = adjacency.sum(1).rsqrt().nan_to_num(posinf=0)
    return roots[:, None] * adjacency * roots


def embeddings(ours: graphs.LightGCN) -> Tensor:
    return torch.cat([ours.users.weight, ours.items.weight])


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_embeddings_are_the_mean_of_all_powers(depth: int) -> None:
    ours, A = model(num_layers=depth), matrix()
    found = torch.cat(ours(PAIRS))
    expected = sum(torch.linalg.matrix_power(A, n) @ embeddings(ours) for n in range(depth + 1)) / (depth + 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    upstream = torch.randn_like(found)
    grads = [torch.autograd.grad(z, [ours.users.weight, ours.items.weight], upstream) for z in (found, expected)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-15)
    torch.testing.assert_close(found[5], ours.users.weight[5] / (depth + 1))  # who chose nothing


def test_torch_geometric_has_the_same_embeddings_scores_and_loss() -> None:
    ours, theirs = model(num_layers=3), geometric.LightGCN(USERS + ITEMS, 3, 3).double()
    with torch.no_grad():
        theirs.embedding.weight.copy_(embeddings(ours))
    of_users, of_items = ours(PAIRS)
    torch.testing.assert_close(torch.cat([of_users, of_items]), theirs.get_embedding(both_ways()), rtol=0, atol=1e-15)
    users, chosen, other = torch.tensor([0, 0, 3, 2]), torch.tensor([0, 3, 2, 1]), torch.tensor([5, 5, 4, 0])
    positives, negatives = ((of_users[users] * of_items[items]).sum(1) for items in (chosen, other))
    pair = torch.stack([users, chosen + USERS])
    torch.testing.assert_close(positives, theirs(both_ways(), pair), rtol=0, atol=1e-15)
    first = [ours.users(users), ours.items(chosen), ours.items(other)]
    loss = ranking.bpr_loss(positives, negatives, first, decay=0.05)
    repeated = torch.cat([users, chosen + USERS, other + USERS])
    torch.testing.assert_close(loss, theirs.recommendation_loss(positives, negatives, repeated, 0.025))
    once = theirs.recommendation_loss(positives, negatives, repeated.unique(), 0.025)
    assert (loss - once).abs() > 1e-5  # one that occurs twice in the batch counts twice


def test_dropped_entries_are_left_out_by_themselves() -> None:
    ours = model(num_layers=2, keep_prob=0.6)
    A, (rows, columns) = matrix(), matrix().nonzero().T
    with torch.no_grad():
        torch.manual_seed(3)
        found = torch.cat(ours.train()(PAIRS))
        torch.manual_seed(3)
        kept = torch.rand(len(rows)) + 0.6 >= 1  # one number for each entry, row by row
        dropped = torch.zeros_like(A).index_put((rows, columns), A[rows, columns] * kept / 0.6)
        expected = sum(torch.linalg.matrix_power(dropped, n) @ embeddings(ours) for n in range(3)) / 3
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
        assert not torch.equal(dropped, dropped.T)
        assert torch.equal(torch.cat(ours.eval()(PAIRS)), torch.cat(model_like(ours)(PAIRS)))


def model_like(other: graphs.LightGCN) -> graphs.LightGCN:
    """Return a model with the same embeddings that drops nothing."""
    same = model(num_layers=other.num_layers)
    same.load_state_dict(other.state_dict())
    return same


def test_steps_of_adam_are_those_of_the_dense_definition() -> None:
    ours, A, decay = model(num_layers=2), matrix(), 0.1
    table = embeddings(ours).detach().clone().requires_grad_()
    optimizers = [torch.optim.Adam(ours.parameters(), 0.05), torch.optim.Adam([table], 0.05)]
    users, chosen, other = torch.tensor([0, 1, 2, 2, 3]), torch.tensor([3, 6, 1, 5, 2]), torch.tensor([5, 5, 4, 0, 1])
    for _ in range(12):
        of_users, of_items = ours(PAIRS)
        positives, negatives = ((of_users[users] * of_items[items]).sum(1) for items in (chosen, other))
        first = [ours.users(users), ours.items(chosen), ours.items(other)]
        loss = ranking.bpr_loss(positives, negatives, first, decay=decay)
        z = (table + A @ table + A @ (A @ table)) / 3
        dense = 0
        for u, p, n in zip(users, chosen + USERS, other + USERS, strict=True):
            dense = dense + (1 + (z[u] @ z[n] - z[u] @ z[p]).exp()).log() / 5
            dense = dense + decay / 10 * sum((table[node] ** 2).sum() for node in (u, p, n))
        torch.testing.assert_close(loss, dense)
        for optimizer, value in zip(optimizers, (loss, dense), strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    torch.testing.assert_close(embeddings(ours), table, rtol=0, atol=1e-12)


def test_recommendations_are_the_highest_scores() -> None:
    ours, users = model().eval(), torch.tensor([2, 5, 2])
    scores = torch.stack([ours(PAIRS)[0][user] @ ours(PAIRS)[1].T for user in users])
    assert torch.equal(ours.recommend(PAIRS, users, ITEMS), scores.argsort(1, descending=True))
    taken = ranking.interaction_mask(PAIRS, users, USERS, ITEMS)
    others = ours.recommend(PAIRS, users, 5, exclude=taken)
    assert not taken.gather(1, others).any()
    assert torch.equal(others[0], others[2])


def test_it_learns_groups() -> None:
    """Users and items of the same parity belong together; what was left out is found."""
    torch.manual_seed(0)
    known = torch.cartesian_prod(torch.arange(20), torch.arange(20)).T
    known = known[:, known.sum(0) % 2 == 0][:, torch.randperm(200)]
    train, test = known[:, ::2], known[:, 1::2]
    ours = graphs.LightGCN(20, 20, dim=8)
    optimizer = torch.optim.Adam(ours.parameters(), 0.02)
    for _ in range(30):
        users, chosen, other = ranking.sample_triples(train, 20, 20, 64)
        of_users, of_items = ours(train)
        scores = [(of_users[users] * of_items[items]).sum(1) for items in (chosen, other)]
        loss = ranking.bpr_loss(*scores, [ours.users(users), ours.items(chosen), ours.items(other)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    everybody = torch.arange(20)
    masks = [ranking.interaction_mask(pairs, everybody, 20, 20) for pairs in (train, test)]
    found = ours.eval().recommend(train, everybody, 5, exclude=masks[0])
    assert ranking.ndcg(found, masks[1]) > 0.95


WRONG = {
    "users": (lambda: graphs.LightGCN(0, 4), "^num_users=0 must be an integer of at least 1$"),
    "layers": (lambda: graphs.LightGCN(4, 4, num_layers=-1), "^num_layers=-1 must be an integer of at least 0$"),
    "dim": (lambda: graphs.LightGCN(4, 4, dim=0), "^dim=0 must be an integer of at least 1$"),
    "keep_prob": (lambda: graphs.LightGCN(4, 4, keep_prob=0.0), r"^keep_prob=0\.0 must be above 0 and at most 1$"),
    "nothing": (lambda: model()(PAIRS[:, :0]), r"^edge_index of shape \(2, 0\) must have at least one interaction$"),
    "user": (lambda: model()(PAIRS + 3), "^edge_index has users from 3 to 7; they must lie between 0 and 5$"),
    "item": (lambda: model()(PAIRS + torch.tensor([[0], [1]])), "^edge_index has items from 1 to 7; they must lie"),
    "k": (
        lambda: model().recommend(PAIRS, torch.tensor([0]), 8),
        "^K=8 must lie between 1 and 7, the number of scores$",
    ),
    "whom": (lambda: model().recommend(PAIRS, torch.tensor([6]), 2), "^users from 6 to 6 must lie between 0 and 5$"),
    "exclude": (
        lambda: model().recommend(PAIRS, torch.tensor([0]), 2, torch.ones(2, 7)),
        r"^excluded of shape \(2, 7\) and torch.float32 must be \(1, 7\) bool$",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
