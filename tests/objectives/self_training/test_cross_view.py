"""Cross-view links: the equalities of its definition, torch_geometric's autoencoder, two steps, and that it trains."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data import load_graph
from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.views import complementary_views
from convnn.models.gnn import GNN
from convnn.nn import graphs
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.evaluation import link_auc
from convnn.objectives.self_training import CrossView, HadamardMLP, link_loss, sample_absent_links
from small_graphs import directed, features, undirected

GAE = import_geometric("nn").GAE
EDGES = undirected(9, 14)


def encoder(channels: int, width: int, dropout: float = 0.0) -> GNN:
    settings = {"dropout": dropout, "hidden_activation": "elu", "linear_head": True}
    return GNN(graphs.GCN, in_channels=channels, d_hidden=width, num_layers=1, **settings)


def test_the_published_encoder_is_ours_on_reversed_edges() -> None:
    edges, x = directed(9, 20), features(9, 4)
    edges = edges[:, edges[0] != edges[1]].unique(dim=1)
    network = encoder(4, 6).double()
    adjacency = torch.eye(9, dtype=torch.double)
    adjacency[edges[0], edges[1]] = 1
    scale = adjacency.sum(1).rsqrt()
    layer = network.layers[0]
    expected = F.elu(scale[:, None] * adjacency * scale @ x @ layer.lin.weight.T + layer.bias)
    found = network.embed(GraphBatch(x, edges.flip(0)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    assert (network.embed(GraphBatch(x, edges)) - expected).abs().max() > 0.1


def test_the_loss_is_that_of_torch_geometrics_autoencoder() -> None:
    z, decoder = features(9, 6), HadamardMLP(6).double().eval()

    class Sigmoid(torch.nn.Module):
        def forward(self, z: Tensor, edges: Tensor, sigmoid: bool = True) -> Tensor:
            return decoder(z, edges).sigmoid()

    present, absent = EDGES, sample_absent_links(EDGES, 9, 20, torch.Generator().manual_seed(0))
    expected = GAE(torch.nn.Identity(), Sigmoid()).recon_loss(z, present, absent)
    loss = link_loss(decoder(z, present), decoder(z, absent))
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-13)  # it adds 1e-15 inside the logarithm
    assert link_loss(torch.tensor([-1e4]), torch.tensor([1e4])) == 2e4  # where its sigmoid has no slope any more


def test_a_link_scores_the_same_both_ways() -> None:
    decoder, z = HadamardMLP(5).double().eval(), features(9, 5)
    assert decoder.first.out_features == 2
    assert torch.equal(decoder(z, EDGES), decoder(z, EDGES.flip(0)))


def test_absent_links_are_all_others_equally_often() -> None:
    edges, drawn = directed(6, 15), sample_absent_links(directed(6, 15), 6, 20_000, torch.Generator().manual_seed(0))
    counts = torch.zeros(6, 6).index_put(tuple(drawn), torch.tensor(1.0), accumulate=True)
    is_absent = ~torch.eye(6, dtype=torch.bool)
    is_absent[tuple(edges)] = False
    assert torch.equal(counts > 0, is_absent)
    expected = 20_000 / is_absent.sum()
    assert (counts[is_absent] - expected).abs().max() < 5 * expected**0.5


def test_an_epoch_is_two_steps_of_which_the_second_sees_new_weights() -> None:
    torch.manual_seed(0)
    network, scheme = encoder(4, 6).double(), CrossView(6, dropout=0.0).double()
    graph, views = GraphBatch(features(9, 4), EDGES), complementary_views(EDGES, generator=torch.Generator())
    steps = scheme.steps(network, graph, views, torch.Generator().manual_seed(1))
    first = next(steps)["links"]
    with torch.no_grad():
        network.layers[0].lin.weight.mul_(2)
    second = next(steps)["links"]
    draws = torch.Generator().manual_seed(1)
    absent = [sample_absent_links(EDGES, 9, view.shape[1], draws) for view in views[::-1]]
    z = network.embed(graph._replace(edge_index=views[1]))
    assert second == link_loss(scheme.decoder(z, views[0]), scheme.decoder(z, absent[1]))
    with torch.no_grad():
        network.layers[0].lin.weight.div_(2)
    z = network.embed(graph._replace(edge_index=views[0]))
    assert first == link_loss(scheme.decoder(z, views[1]), scheme.decoder(z, absent[0]))
    assert next(steps, None) is None


def test_a_view_without_edges_costs_nothing() -> None:
    network, scheme = encoder(4, 6).double(), CrossView(6).double()
    views = EDGES, EDGES[:, :0]
    losses = [terms["links"] for terms in scheme.steps(network, GraphBatch(features(9, 4), EDGES), views)]
    assert losses[0] == 0
    assert losses[1] > 0


def test_it_learns_which_nodes_are_linked() -> None:
    torch.manual_seed(0)
    data = load_graph("sbm").graph
    pairs = data.edge_index[:, data.edge_index[0] < data.edge_index[1]]
    pairs = pairs[:, torch.randperm(pairs.shape[1])]
    held, known = pairs[:, :100], pairs[:, 100:]
    graph = GraphBatch(data.x, torch.cat([known, known.flip(0)], 1))
    others = sample_absent_links(data.edge_index, len(data.x), 100)
    network, scheme = encoder(data.x.shape[1], 32, 0.2), CrossView(32)
    optimizer = torch.optim.Adam([*network.parameters(), *scheme.parameters()], 0.01)

    @torch.no_grad()
    def auc() -> float:
        network.eval()
        scheme.eval()
        z = network.embed(graph)
        return link_auc(scheme.score(z, held), scheme.score(z, others))

    before = auc()
    network.train()
    scheme.train()
    for _ in range(40):
        for terms in scheme.steps(network, graph, complementary_views(graph.edge_index)):
            optimizer.zero_grad()
            terms["links"].backward()
            optimizer.step()
    after = auc()
    assert after > 0.75
    assert after > before + 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HadamardMLP(1), r"^channels=1 must be an integer of at least 2"),
        (lambda: HadamardMLP(4, dropout=2), r"^dropout=2 must lie between 0 and 1"),
        (lambda: HadamardMLP(4)(features(9, 3), EDGES), r"^z of shape \(9, 3\) must be \(N, 4\)"),
        (lambda: HadamardMLP(3).double()(features(4, 3), EDGES), r"^edge_index has sources from 0 to"),
        (lambda: link_loss(EDGES, EDGES[0]), r"^positives of shape \(2, 28\)"),
        (lambda: sample_absent_links(undirected(4, 99), 4, 1), r"^edge_index joins all pairs of 4 nodes"),
        (
            lambda: next(
                CrossView(4).steps(encoder(4, 4), GraphBatch(features(9, 4), EDGES, torch.ones(28)), (EDGES, EDGES))
            ),
            r"^graph.edge_weight must be None",
        ),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
