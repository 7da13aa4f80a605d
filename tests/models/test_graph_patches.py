"""The network on patches of graphs: batches, training, nodes, and what it refuses."""

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn.graphs.batch import GraphBatch, path_graph, side_by_side
from convnn.nn.graphs.patches.mixing import MIXINGS

C = 5
SMALL = {"d_hidden": 16, "num_layers": 2, "num_mixers": 1, "num_patches": 4}


def graph(nodes: int, classified: bool = False) -> GraphBatch:
    torch.manual_seed(nodes)
    edges = torch.randint(0, nodes, (2, 2 * nodes))
    return GraphBatch(
        torch.randn(nodes, C),
        torch.cat([edges, edges.flip(0)], 1),
        nodes=torch.tensor([0, nodes - 1]) if classified else None,
    )


def network(**settings: object) -> nn.Module:
    torch.manual_seed(1)
    return create_model("graph_patches", in_channels=C, num_classes=3, **{**SMALL, **settings})


@pytest.mark.parametrize("mixing", MIXINGS)
def test_graphs_are_answered_for_one_by_one(mixing: str) -> None:
    net = network(mixing=mixing, walk_dim=3, eigenvector_dim=2, diffusion=int(mixing == "kernel")).eval()
    graphs = [graph(n) for n in (1, 3, 9, 6)]
    together = net(side_by_side(graphs, C))
    apart = torch.cat([net(side_by_side([one], C)) for one in graphs])
    torch.testing.assert_close(together, apart)


def test_patches_change_in_training_only() -> None:
    net, one = network(), side_by_side([graph(30)], C)
    torch.manual_seed(0)
    assert not torch.equal(net.patches(one).node, net.patches(one).node)
    net.eval()
    assert torch.equal(net.patches(one).node, net.patches(one).node)


def test_small_graphs_have_patches_at_random_places_in_training() -> None:
    net, one = network(num_patches=8), side_by_side([graph(3)], C)
    torch.manual_seed(0)
    masks = torch.cat([net.patches(one).mask for _ in range(20)])
    assert masks.any(0).sum() > 3
    assert masks[:, -1].all()
    assert net.eval().patches(one).mask.tolist() == [[False] * 5 + [True] * 3]


def test_nodes_are_answered_for_by_their_patches() -> None:
    net, one = network().eval(), graph(9, classified=True)
    patches = net.patches(one)
    tokens = net.mixer.tokens(one.x, patches, net.encodings(one, patches))[0]
    expected = torch.stack([tokens[patches.patch[patches.node == node]].mean(0) for node in (0, 8)])
    torch.testing.assert_close(net(one), net.head(expected))
    assert net(path_graph(2, C)).shape == (2, 3)


def circulants(chord: int, count: int) -> list[GraphBatch]:
    """Make cycles of 12 nodes with chords of a length, in any order; all nodes have degree 4 and the same features."""
    found = []
    for _ in range(count):
        order = torch.randperm(12)
        steps = [torch.stack([order, order.roll(-step)]) for step in (1, chord)]
        edges = torch.cat(steps, 1)
        found.append(GraphBatch(torch.ones(12, C), torch.cat([edges, edges.flip(0)], 1)))
    return found


@pytest.mark.slow
def test_training_tells_graphs_apart_that_message_passing_cannot() -> None:
    torch.manual_seed(0)
    graphs, labels = circulants(2, 6) + circulants(4, 6), torch.tensor([0, 1]).repeat_interleave(6)
    batch, net = side_by_side(graphs, C), network()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(net(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    plain = create_model("gnn", "GIN", in_channels=C, num_classes=3, linear_head=True).eval()
    assert plain(batch).var(0).max() < 1e-10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_patches": 0}, "num_patches=0 must be an integer of at least 1"),
        ({"patch_hops": -1}, "patch_hops=-1 must be an integer of at least 0"),
        ({"diffusion": -1}, "diffusion=-1 must be an integer of at least 0"),
        ({"partition_drop": 1.0}, "partition_drop=1.0 must be at least 0 and less than 1"),
        ({"readout": "median"}, "readout='median' is not one of mean, sum, max"),
        ({"mixing": "standard", "d_hidden": 12}, "hidden=12 must be a multiple of heads=8"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        network(**settings)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"x of shape \(3, 4\) must be \(N, 5\)"):
        network()(GraphBatch(torch.zeros(3, 4), torch.zeros(2, 0, dtype=torch.long)))
    with pytest.raises(InputError, match=r"x of shape \(0, 5\) must be \(N, 5\)"):
        network()(side_by_side([], C))
