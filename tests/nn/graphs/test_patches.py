"""Patches of graphs against their definition, PyTorch Geometric, networkx, PyTorch and timm."""

from functools import partial

import networkx
import pytest
import torch
from timm.models.mlp_mixer import MixerBlock
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn.graphs.patches.cut import coarse_adjacency, cut_patches, node_walks, walk_encoding
from convnn.nn.graphs.patches.mixer import NO_ENCODINGS, Encodings, GraphPatchMixer
from convnn.nn.graphs.patches.mixing import ATTENTIONS, NEED_ADJACENCY, PatchAttention, TokenMLP
from convnn.nn.graphs.patches.partition import grow_parts

pytest.importorskip("torch_geometric.nn")
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, GINEConv
from torch_geometric.transforms import AddRandomWalkPE

from convnn.nn.graphs import GINE, node_eigenvectors


def _graph(nodes: int, edges: int, seed: int = 0) -> Tensor:
    return torch.randint(0, nodes, (2, edges), generator=torch.Generator().manual_seed(seed))


def _both_ways(edges: Tensor) -> Tensor:
    return torch.cat([edges, edges.flip(0)], 1)


def _zeros(nodes: int) -> Tensor:
    return torch.zeros(nodes, dtype=torch.long)


def _masks(edges: Tensor, membership: Tensor, parts: int, hops: int) -> tuple[Tensor, Tensor]:
    """Return which nodes and edges are in which patch, by shortest paths."""
    nodes = len(membership)
    graph = networkx.Graph(edges.T.tolist())
    graph.add_nodes_from(range(nodes))
    lengths = dict(networkx.all_pairs_shortest_path_length(graph, cutoff=hops))
    of_nodes = torch.zeros(parts, nodes, dtype=torch.bool)
    for node in range(nodes):
        of_nodes[membership[node], list(lengths[node])] = True
    return of_nodes, of_nodes[:, edges[0]] & of_nodes[:, edges[1]]


@pytest.mark.parametrize(
    ("nodes", "edges", "parts", "hops"), [(11, 20, 3, 1), (9, 7, 5, 2), (6, 12, 1, 0), (4, 0, 4, 1)]
)
def test_patches_are_those_of_shortest_paths(nodes: int, edges: int, parts: int, hops: int) -> None:
    joined = _graph(nodes, edges)  # directed, with loops and edges that come twice
    membership = torch.arange(nodes).mul(7) % parts
    found = cut_patches(joined, membership, _zeros(nodes), 1, parts=parts, num_hops=hops)
    of_nodes, of_edges = _masks(joined, membership, parts, hops)
    assert torch.equal(torch.stack([found.patch, found.node]), of_nodes.nonzero().T)
    assert torch.equal(torch.stack([found.patch[found.edge_index[0]], found.edge]), of_edges.nonzero().T)
    assert torch.equal(found.node[found.edge_index], joined[:, found.edge])
    assert torch.equal(found.patch[found.edge_index[0]], found.patch[found.edge_index[1]])
    assert found.mask.all()
    if hops:
        assert len(found.edge.unique()) == edges, "every edge is in a patch"
    members = of_nodes.double()
    shared = members @ members.T
    assert torch.equal(coarse_adjacency(found, torch.float64)[0], shared)
    steps = shared / shared.sum(1, keepdim=True)
    torch.testing.assert_close(coarse_adjacency(found, torch.float64, 3)[0], steps @ steps @ steps)


def test_the_last_patch_is_not_empty() -> None:
    found = cut_patches(_graph(5, 8), torch.tensor([0, 1, 1, 0, 1]), _zeros(5), 1, parts=4)
    assert found.mask.tolist() == [[False, False, True, True]]


def test_graphs_side_by_side_have_the_patches_of_each() -> None:
    sizes, starts = (4, 7, 3), (0, 4, 11)
    graphs = [_both_ways(_graph(n, n, seed=n)) for n in sizes]
    together = torch.cat([edges + start for edges, start in zip(graphs, starts, strict=True)], 1)
    graph_of = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    parts = grow_parts(together, graph_of, 3, 2)
    found = cut_patches(together, parts, graph_of, 3, parts=2)
    walks = node_walks(together, graph_of, 3, 5, torch.float64)
    adjacency = coarse_adjacency(found, torch.float64)
    vectors = node_eigenvectors(together, graph_of, 3, 2)
    nodes = []
    for number, (edges, size, start) in enumerate(zip(graphs, sizes, starts, strict=True)):
        own = grow_parts(edges, _zeros(size), 1, 2)
        assert torch.equal(own, parts[graph_of == number])
        alone = cut_patches(edges, own, _zeros(size), 1, parts=2)
        nodes.append(alone.node + start)
        assert torch.equal(alone.mask[0], found.mask[number])
        assert torch.equal(coarse_adjacency(alone, torch.float64)[0], adjacency[number])
        torch.testing.assert_close(node_walks(edges, _zeros(size), 1, 5, torch.float64), walks[graph_of == number])
        torch.testing.assert_close(node_eigenvectors(edges, _zeros(size), 1, 2), vectors[graph_of == number])
    assert torch.equal(torch.cat(nodes), found.node)


def test_walks_are_those_of_pytorch_geometric() -> None:
    edges = _graph(12, 30).unique(dim=1)  # of several equal edges it counts one
    theirs = AddRandomWalkPE(6, "walks")(Data(edge_index=edges, num_nodes=12)).walks
    torch.testing.assert_close(node_walks(edges, _zeros(12), 1, 6, torch.float32), theirs)
    assert walk_encoding(torch.eye(3)[None], 0).shape == (1, 3, 0)


def test_eigenvectors_are_those_of_the_laplacian() -> None:
    graph = networkx.path_graph(7)
    edges = torch.tensor(list(graph.to_directed().edges)).T
    found = node_eigenvectors(edges, _zeros(7), 1, 3).double()
    laplacian = torch.from_numpy(networkx.normalized_laplacian_matrix(graph).toarray())
    values = torch.linalg.eigvalsh(laplacian)[1:4]
    torch.testing.assert_close(laplacian @ found, found * values, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=0), torch.ones(3).double(), rtol=0, atol=1e-5)
    assert (found.gather(0, found.abs().argmax(0, keepdim=True)) > 0).all()
    padded = node_eigenvectors(torch.tensor([[0, 1], [1, 0]]), _zeros(2), 1, 3)
    assert padded[:, 0].all()
    assert not padded[:, 1:].any()


def test_parts_of_a_path_grow_from_both_ends() -> None:
    path = torch.tensor(list(networkx.path_graph(9).edges)).T
    assert grow_parts(path, _zeros(9), 1, 2).tolist() == [0] * 5 + [1] * 4
    assert grow_parts(path, _zeros(9), 1, 3).tolist() == [0, 0, 0, 2, 2, 2, 1, 1, 1]
    assert grow_parts(path[:, :3], _zeros(5), 1, 8).sort().values.tolist() == [0, 1, 2, 3, 4]
    assert grow_parts(path[:, :0], _zeros(5), 1, 2).tolist() == [0, 1, 0, 1, 0], "alone, and shared out in turn"


def test_parts_of_a_connected_graph_are_connected() -> None:
    graph = networkx.connected_watts_strogatz_graph(40, 4, 0.3, seed=1)
    parts = grow_parts(torch.tensor(list(graph.edges)).T, _zeros(40), 1, 6)
    for part in range(6):
        assert networkx.is_connected(graph.subgraph((parts == part).nonzero().flatten().tolist()))


def test_standard_attention_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours = PatchAttention(16, 4, "standard").double()
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).double()
    state = ours.state_dict()
    for kind in ("weight", "bias"):
        joined = torch.cat([state[f"{part}.{kind}"] for part in ("query", "key", "value")])
        getattr(theirs, f"in_proj_{kind}").data.copy_(joined)
        getattr(theirs.out_proj, kind).data.copy_(state[f"output.{kind}"])
    x, mask = torch.randn(2, 5, 16, dtype=torch.float64), torch.rand(2, 5) > 0.3
    mask[:, -1] = True
    torch.testing.assert_close(ours(x, mask), theirs(x, x, x, key_padding_mask=~mask)[0], rtol=0, atol=1e-14)


def test_the_mixing_mlp_is_timms() -> None:
    torch.manual_seed(0)
    ours = TokenMLP(12, 5).double()
    theirs = MixerBlock(12, 5, (4.0, 0.5), norm_layer=nn.LayerNorm).double()
    names = {"norm1": "token_norm", "norm2": "channel_norm"}
    names |= {"mlp_tokens.fc1": "over_tokens.0", "mlp_tokens.fc2": "over_tokens.3"}
    names |= {"mlp_channels.fc1": "over_channels.0", "mlp_channels.fc2": "over_channels.3"}
    state = ours.state_dict()
    theirs.load_state_dict(
        {f"{t}.{kind}": state[f"{o}.{kind}"] for t, o in names.items() for kind in ("weight", "bias")}
    )
    x = torch.randn(3, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x, torch.ones(3, 5, dtype=torch.bool)), theirs(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_nobody_attends_to_an_empty_patch(kind: str) -> None:
    torch.manual_seed(0)
    layer = PatchAttention(8, 2, kind).double()
    x, mask = torch.randn(2, 4, 8, dtype=torch.float64), torch.tensor([[False, True, True, True], [True] * 4])
    near = torch.rand(2, 4, 4, dtype=torch.float64)
    other = torch.where(mask[..., None], x, torch.randn_like(x))
    torch.testing.assert_close(layer(x, mask, near)[mask], layer(other, mask, near)[mask], rtol=0, atol=1e-14)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, mask, near), x, fast_mode=True)


def test_attention_with_the_coarse_graph_is_the_formula() -> None:
    torch.manual_seed(0)
    near, mask = torch.rand(1, 3, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool)
    x = torch.randn(1, 3, 8, dtype=torch.float64)
    for kind in NEED_ADJACENCY:
        layer = PatchAttention(8, 2, kind).double()
        heads = []
        for head in range(2):
            q, k, v = (linear(x[0])[:, 4 * head : 4 * head + 4] for linear in (layer.query, layer.key, layer.value))
            scores = q @ k.T / 2
            if kind == "additive":
                by = layer.by_adjacency
                weights = (scores + by.weight[head] * near[0] + by.bias[head]).softmax(1)
            elif kind == "hadamard":
                weights = scores.softmax(1) * near[0]
            else:
                weights = near[0] * scores.exp() / (near[0] * scores.exp()).sum(1, keepdim=True)
            heads.append(weights @ v)
        torch.testing.assert_close(layer(x, mask, near)[0], layer.output(torch.cat(heads, 1)), rtol=0, atol=1e-13)


def test_one_patch_without_mixing_is_a_stack_of_layers_with_a_mean() -> None:
    torch.manual_seed(0)
    model = GraphPatchMixer(3, 8, 2, 1, layer=GCNConv, num_layers=1, num_mixers=0, patch_walk_dim=0).double().eval()
    edges, x = _both_ways(_graph(6, 9)), torch.randn(6, 3, dtype=torch.float64)
    h = model.encoder(x)
    layer = model.layers[0]
    h = layer.output(layer.norm(layer.conv(h, edges)).relu() + h)
    patches = cut_patches(edges, _zeros(6), _zeros(6), 1, parts=1, num_hops=0)
    torch.testing.assert_close(model(x, patches), model.head(model.norm(h.mean(0, keepdim=True))))


def test_edges_with_features_are_those_of_gine() -> None:
    torch.manual_seed(0)
    ours = GINE(4, 6).double().eval()
    theirs = GINEConv(ours.nn, eps=0.5).double()
    ours.eps.data.fill_(0.5)
    edges, x, e = _graph(5, 12), torch.randn(5, 4).double(), torch.randn(12, 4).double()
    torch.testing.assert_close(ours(x, edges, e), theirs(x, edges, e))


def _mixer(**settings: object) -> GraphPatchMixer:
    return GraphPatchMixer(3, 8, 2, 2, layer=GCNConv, num_layers=1, num_mixers=1, **{"patch_walk_dim": 0, **settings})


def _run(encodings: Encodings = NO_ENCODINGS, edge_attr: Tensor | None = None, **settings: object) -> None:
    patches = cut_patches(_graph(5, 8), torch.tensor([0, 0, 1, 1, 0]), _zeros(5), 1, parts=2)
    _mixer(**settings)(torch.zeros(5, 3), patches, encodings, edge_attr)


CUT = partial(cut_patches, num_graphs=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CUT(_graph(3, 4), _zeros(3), _zeros(3), parts=0), "parts=0 must be an integer of at least 1"),
        (lambda: CUT(_graph(3, 4), _zeros(3), _zeros(3), parts=1, num_hops=-1), "num_hops=-1 must be an integer of"),
        (
            lambda: CUT(_graph(1, 0), _zeros(0), _zeros(0), parts=1),
            "membership of 0 and graph_of of 0 must have an entry",
        ),
        (
            lambda: CUT(_graph(3, 4), _zeros(3) + 2, _zeros(3), parts=2),
            "membership from 2 to 2 must lie between 0 and 1",
        ),
        (lambda: grow_parts(_graph(3, 4), _zeros(3), 1, 0), "parts=0 must be an integer of at least 1"),
        (lambda: _mixer(mixing="standard", heads=3), "hidden=8 must be a multiple of heads=3"),
        (lambda: _mixer(mixing="mpl"), "mixing='mpl' is not one of mlp, standard.*did you mean 'mlp'"),
        (lambda: _mixer(pooling="median"), "pooling='median' is not one of mean, sum, max"),
        (
            lambda: _run(mixing="hadamard"),
            "adjacency=None must be the coarse graph of the patches for mixing='hadamard'",
        ),
        (lambda: _run(walk_dim=4), "encodings.walks None must have 4 columns"),
        (
            lambda: _run(Encodings(walks=torch.zeros(5, 3)), walk_dim=4),
            r"encodings.walks of shape \(5, 3\) must have 4",
        ),
        (lambda: _run(edge_attr=torch.zeros(8, 2)), r"edge_attr of shape \(8, 2\) is not read; set edge_channels"),
        (
            lambda: _run(edge_attr=torch.zeros(8, 2), edge_channels=3),
            r"edge_attr of shape \(8, 2\) and torch.float32 must be floating and \(8, 3\)",
        ),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
