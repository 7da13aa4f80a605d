"""HoloNets: who points to whom matters, and strongly tied nodes act like one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._nodes import descend, geometric, right
from convnn.nn.graphs import Holo, HoloNet

SYSTEM = "HoloNets: holomorphic filters"
CLAIM = (
    "Holomorphic filters need no symmetric graph: they use the direction of edges, and those of the resolvent do not"
    " depend on the resolution of the graph."
)
EXPERIMENT = (
    "Random directed graphs of 600 nodes with random features, labelled by whether the mean of the in-neighbours is"
    " above that of the out-neighbours: test accuracy in percent of two layers of 32 channels after 200 steps. And a"
    " graph of 12 nodes, three of them tied by weights s: the largest difference of an untrained layer's output from"
    " that on the graph in which the three are one."
)
SEEDS = (0, 1, 2)
STRENGTHS = (1, 10, 100, 1000, 10000)


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 200
    networks = {
        "directed, K = 1": (False, lambda: holo(1)),
        "directed, K = 3": (False, lambda: holo(3)),
        "both ways, K = 3": (True, lambda: holo(3)),
        "both ways, GCN": (True, lambda: geometric.models.GCN(1, 32, 2, 2)),
    }
    tested = {name: [accuracy(seed, steps, *setting) for seed in seeds] for name, setting in networks.items()}
    errors = {basis: [difference(basis, strength) for strength in STRENGTHS] for basis in ("resolvent", "powers")}
    rows = [[f"accuracy, {name}", spread(found)] for name, found in tested.items()]
    rows += [[f"difference, {basis}, s = 1 to 10000", " ".join(f"{e:.1e}" for e in of)] for basis, of in errors.items()]
    ratios = [a / b for a, b in zip(errors["resolvent"][1:-1], errors["resolvent"][2:], strict=True)]
    return Outcome(
        [["measured", "value"], *rows],
        {
            "with directions more than 85 % are right": min(tested["directed, K = 3"]) > 85,
            "without them less than 58 %": max(tested["both ways, K = 3"] + tested["both ways, GCN"]) < 58,
            "the resolvent's difference falls eight- to twelvefold with tenfold s": all(8 < r < 12 for r in ratios),
            "that of powers does not fall": errors["powers"][-1] > errors["powers"][0],
        },
    )


def holo(hops: int) -> nn.Module:
    return HoloNet(1, 2, hidden=32, layers=2, hops=hops, jump="cat", slope=0.0)


def accuracy(seed: int, steps: int, is_symmetric: bool, make) -> float:
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(600, 600, generator=generator) < 0.012).fill_diagonal_(False).nonzero().T
    x = 2 * torch.rand(600, 1, generator=generator) - 1
    means = [geometric.SimpleConv(aggr="mean")(x, way)[:, 0] for way in (edges, edges.flip(0))]
    labels = (means[0] > means[1]).long()
    edges = torch.unique(torch.cat([edges, edges.flip(0)], 1), dim=1) if is_symmetric else edges
    torch.manual_seed(seed)
    network = make()
    descend(network, lambda: F.cross_entropy(network(x, edges)[:300], labels[:300]), steps=steps, lr=0.02)
    with torch.no_grad():
        return right(network(x, edges)[300:], labels[300:])


@torch.no_grad()
def difference(basis: str, strength: float) -> float:
    torch.manual_seed(0)
    coarse = torch.tensor([0, 0, 0, *range(1, 10)])
    drawn = (torch.rand(12, 12) < 0.4).triu(1)
    drawn[:3, :3] = False
    fine = (drawn | drawn.T).nonzero().T
    ties = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    layer, x = Holo(1, 1, hops=1, out_weight=0.0, holo_basis=basis, bias=False).double(), torch.randn(10, 1).double()
    weights = torch.cat([torch.ones(fine.shape[1]), torch.full((6,), float(strength))]).double()
    copied: Tensor = layer(x[coarse], torch.cat([fine, ties], 1), weights)
    shares = torch.where(coarse[fine[1]] == 0, 1 / 3, 1.0).double()  # the one node has the mean of the three
    return (copied - layer(x, coarse[fine], shares)[coarse]).abs().max().item()
