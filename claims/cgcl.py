"""CGCL: each of two complementary views of the edges rebuilds the other."""

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from claims._graphs import block_model
from claims._named_graphs import citations
from claims._pixel_graph import digits
from convnn.graphs.views import complementary_views
from convnn.models.gnn import GNN
from convnn.nn.graphs import GCN
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.evaluation import link_auc
from convnn.objectives.self_training import CrossView, sample_absent_links

SYSTEM = "CGCL: cross-view links"
CLAIM = "A network that rebuilds one half of the edges from the other predicts links as well as other training does."
EXPERIMENT = (
    "The graphs of the 5 nearest of 500 digits, of 200 nodes in five groups with edges of probability 0.25 within and"
    " 0.01 between them and noisy features, and Cora. A fifth of the links is held out; area under the ROC curve in"
    " percent, of them and as many absent links, before and after 100 epochs of two steps, on Cora 50: GCN of 64"
    " channels, dropout 0.5 and 0.2. The targets are the other view, the view itself, or, from all edges, half of them."
)
SEEDS = (0, 1, 2, 3)
TARGETS = ("other view", "own view", "half of all edges")
GRAPHS = {"digits": lambda _: digits()[:2], "groups": lambda s: groups(s), "Cora": lambda _: citations("Cora")[:2]}


def measure(seeds: list[int], quick: bool) -> Outcome:
    rows, gains = [], []
    scores: dict[str, list[float]] = {target: [] for target in TARGETS}
    for name in ("digits", "groups") if quick else GRAPHS:
        epochs = 2 if quick else 50 if name == "Cora" else 100
        for target in TARGETS:
            before, after = zip(*(trained(*GRAPHS[name](seed), target, seed, epochs) for seed in seeds), strict=True)
            rows.append([name, target, spread(before), spread(after)])
            scores[target] += after
            gains.append(is_above(after, before))
    cross, own, full = scores.values()
    return Outcome(
        [["graph", "target", "untrained, %", "trained, %"], *rows],
        {
            "training helps, whatever the target": all(gains),
            "it is within a point of targets from all edges, on average": sum(full) - sum(cross) < len(cross),
            "it is above targets from the view itself": is_above(cross, own),
        },
    )


def groups(seed: int) -> tuple[Tensor, Tensor]:
    return block_model(200, 5, 0.25, 0.01, features=16, noise=2.0, known=1, seed=seed)[:2]


def trained(x: Tensor, edges: Tensor, target: str, seed: int, epochs: int) -> tuple[float, float]:
    torch.manual_seed(seed)
    pairs = edges[:, edges[0] < edges[1]]
    held, known = pairs[:, torch.randperm(pairs.shape[1])].tensor_split([pairs.shape[1] // 5], 1)
    absent = sample_absent_links(edges, len(x), held.shape[1])
    graph = GraphBatch(x, torch.cat([known, known.flip(0)], 1))
    settings = {"dropout": 0.5, "hidden_activation": "elu", "linear_head": True}
    network = GNN(GCN, in_channels=x.shape[1], d_hidden=64, num_layers=1, **settings)
    both = torch.nn.ModuleList([network, scheme := CrossView(64)])
    optimizer = torch.optim.Adam(both.parameters(), 0.01)

    def auc() -> float:
        both.eval()
        z = network.embed(graph).detach()
        return 100 * link_auc(scheme.score(z, held), scheme.score(z, absent))

    before = auc()
    for _ in range(epochs):
        both.train()
        views = complementary_views(graph.edge_index)
        for view, other in (views, views[::-1]):
            seen = {"other view": (view, other), "own view": (view, view)}.get(target, (graph.edge_index, other))
            optimizer.zero_grad()
            scheme(network, graph, *seen)["links"].backward()
            optimizer.step()
    return before, auc()
