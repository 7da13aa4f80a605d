"""GKEDM: loops, TransformerConv of PyTorch Geometric, its limits, and what distillation of its attention is."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

geometric = pytest.importorskip("torch_geometric.nn")
from torch_geometric.utils import softmax  # noqa: E402

from convnn.errors import InputError  # noqa: E402
from convnn.nn import graphs  # noqa: E402
from convnn.objectives import attention_distillation  # noqa: E402
from small_graphs import directed, features  # noqa: E402

EXACT = {"rtol": 0, "atol": 1e-12}
HEADS, HEAD_CHANNELS = 3, 4


def layer() -> nn.Module:
    torch.manual_seed(0)
    return graphs.GKEDM(5, 2, heads=HEADS, head_channels=HEAD_CHANNELS).double()


def with_itself(edge_index: Tensor, nodes: int) -> Tensor:
    """Return the edges without self-loops, then one for each node."""
    kept = edge_index[:, edge_index[0] != edge_index[1]]
    return torch.cat([kept, torch.arange(nodes).expand(2, -1)], dim=1)


def in_loops(ours: nn.Module, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute logits, features and weights node by node and head by head."""
    edges, attention = with_itself(edge_index, len(x)), ours.attention
    names = ("lin_query", "lin_key", "lin_value")
    query, key, value = (getattr(attention, name)(x).view(-1, HEADS, HEAD_CHANNELS) for name in names)
    rows, weights = [], {}
    for i in range(len(x)):
        into = [(number, j) for number, (j, target) in enumerate(edges.T.tolist()) if target == i]
        heads = []
        for h in range(HEADS):
            scores = torch.stack([query[i, h] @ key[j, h] for _, j in into]) / HEAD_CHANNELS**0.5
            shares = scores.softmax(0)
            heads.append(sum(share * value[j, h] for share, (_, j) in zip(shares, into, strict=True)))
            weights |= {(number, h): share for share, (number, _) in zip(shares, into, strict=True)}
        rows.append(torch.cat(heads) + attention.lin_skip(x[i]))
    enhanced = torch.stack(rows)
    table = torch.stack([torch.stack([weights[number, h] for h in range(HEADS)]) for number in range(edges.shape[1])])
    return ours.classifier(enhanced), enhanced, table


def test_it_is_what_loops_compute() -> None:
    ours, x, edge_index = layer(), features(7, 5).requires_grad_(), directed()
    leaves, upstream = [x, *ours.parameters()], features(7, 2, seed=3)
    logits, enhanced, edges, weights = ours.enhance(x, edge_index)
    assert torch.equal(edges, with_itself(edge_index, 7))
    assert torch.equal(ours(x, edge_index), logits)
    expected = in_loops(ours, x, edge_index)
    torch.testing.assert_close((logits, enhanced, weights), expected, **EXACT)
    gradients = (torch.autograd.grad(y, leaves, upstream, materialize_grads=True) for y in (logits, expected[0]))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


def test_weights_add_up_to_1_and_a_lone_node_looks_at_itself() -> None:
    ours, x, edge_index = layer(), features(7, 5), directed()
    _, _, edges, weights = ours.enhance(x, edge_index)
    sums = torch.zeros(7, HEADS, dtype=torch.float64).index_add(0, edges[1], weights)
    torch.testing.assert_close(sums, torch.ones_like(sums), **EXACT)
    assert torch.equal(weights[-1], torch.ones(HEADS, dtype=torch.float64))  # no edge enters the last node


def test_without_queries_and_keys_it_is_the_mean_and_the_node() -> None:
    ours, x, edge_index = layer(), features(7, 5), directed()
    for name in ("lin_query", "lin_key"):
        for parameter in getattr(ours.attention, name).parameters():
            nn.init.zeros_(parameter)
    conv = geometric.SAGEConv(5, HEADS * HEAD_CHANNELS, aggr="mean").double()
    value, skip = ours.attention.lin_value, ours.attention.lin_skip
    with torch.no_grad():
        conv.lin_l.weight.copy_(value.weight)
        conv.lin_l.bias.copy_(value.bias + skip.bias)
        conv.lin_r.weight.copy_(skip.weight)
    enhanced = ours.enhance(x, edge_index).enhanced
    torch.testing.assert_close(enhanced, conv(x, with_itself(edge_index, 7)), **EXACT)


def test_parameters() -> None:
    size = HEADS * HEAD_CHANNELS
    assert sum(p.numel() for p in layer().parameters()) == 4 * (5 * size + size) + size * 2 + 2


def test_the_gradient_of_distillation_is_the_difference_of_the_weights() -> None:
    edges = with_itself(directed(), 7)
    scores = features(edges.shape[1], HEADS).requires_grad_()
    student = softmax(scores, edges[1])
    teacher = softmax(features(edges.shape[1], HEADS, seed=5), edges[1])
    loss = attention_distillation((edges, teacher), (edges, student), 7)
    (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(gradient, (student - teacher).detach() / (7 * HEADS), **EXACT)


def test_a_small_network_learns_labels_and_attention() -> None:
    x, edge_index = features(7, 5).float(), directed()
    labels = torch.arange(7) % 2
    torch.manual_seed(1)
    teacher, student = (graphs.GKEDM(5, 2, heads=2, head_channels=width) for width in (8, 2))
    _, _, *attention = teacher.enhance(x, edge_index)
    optimizer = torch.optim.Adam(student.parameters(), 0.05)
    losses = []
    for _ in range(150):
        logits, _, *own = student.enhance(x, edge_index)
        distillation = attention_distillation(tuple(attention), tuple(own), 7)
        optimizer.zero_grad()
        (F.cross_entropy(logits, labels) + distillation).backward()
        optimizer.step()
        losses.append(distillation.item())
    assert (logits.argmax(1) == labels).all()
    assert losses[-1] < losses[0] / 4
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "heads", "head_channels"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}=0 must be an integer of at least 1$"):
        graphs.GKEDM(**{"in_channels": 5, "out_channels": 2} | {name: 0})


def test_inputs_are_checked() -> None:
    with pytest.raises(InputError, match=r"^x of shape \(7, 4\) and torch\.float64 must be floating and \(N, 5\)"):
        layer()(features(7, 4), directed())
    with pytest.raises(InputError, match=r"^edge_index has sources from 0 to 6; they must lie between 0 and 4$"):
        layer()(features(5, 5), directed())
