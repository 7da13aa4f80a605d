"""Adaptive neighbourhoods (arXiv 2307.09065): edges of a given graph ranked, and how many of them each node keeps."""

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.ops import Neighbors, weigh
from golden.case import Case
from golden.entry import Entry

NAMES = {
    "m": "",
    "node_encode_for_edges.0": "edges.encode",
    "node_encoder.0": "edges.encode",
    "edge_encode.0": "edges.edge",
    "edge_encoder.0": "edges.edge",
    "edge_encode.2": "edges.score",
    "degree_decoder.0": "degree",
    "node_encode_for_k.0": "degree.encode",
    "k_net.k_mu": "degree.mean",
    "k_net.k_project": "degree.project",
}


def _names(case: Case) -> dict[str, str]:
    """What comes ahead of the mean of the degree depends on what it is told from."""
    by_degree = case.config.get("args", {}).get("dgg_mode_k_net") == "input_deg"
    return NAMES | {"input_degree_project" if by_degree else "k_embed.0": "degree.hidden"}


EDGES = {"u-v-deg": "pair", "u-v-dist": "distance"}


class SoftAdjacency(nn.Module):
    """A learned graph on nodes (N, C), dense as published: (N, N)."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = case.config
        args = config.get("args", {"dgg_mode_edge_net": "difference", "dgg_mode_k_net": "sum"})
        self.edges = cnn.EdgeRanker(
            config["in_dim"], config["latent_dim"], EDGES.get(args["dgg_mode_edge_net"], "difference")
        )
        self.by = args["dgg_mode_k_net"]
        if self.by == "sum":
            self.degree: nn.Module = nn.Linear(1, 1)
        else:
            channels = config["in_dim"] if self.by == "x" else 0
            self.degree = cnn.DegreeEstimator(channels, config["latent_dim"])
        self.of_data = args.get("deg_mean"), args.get("deg_std")

    def forward(self, x: Tensor, adjacency: Tensor) -> dict[str, Tensor]:
        count = len(x)
        everybody = torch.arange(count).expand(1, count, count)
        neighbors = Neighbors(everybody, absent=adjacency[None] == 0)
        degrees = adjacency.sum(-1)[None]
        ranked = self.edges(x[None], torch.arange(count), neighbors, degrees)
        ranked = ranked._replace(scores=ranked.scores.masked_fill(neighbors.absent, 0))
        wishes = self.wishes(x[None], ranked.scores, degrees)
        kept = weigh.soft_top(ranked, wishes)
        soft = torch.zeros(count, count, dtype=x.dtype).scatter(1, kept.indices[0], kept.scores[0])
        out = soft + ranked.scores[0] if self.by == "sum" else soft
        inside = {"edge_prob": ranked.scores[0], "degree_k": wishes[0, :, None]}
        return {"output": out, "encoded_x": nn.functional.leaky_relu(self.edges.encode(x)), **inside}

    def wishes(self, x: Tensor, scores: Tensor, degrees: Tensor) -> Tensor:
        if self.by == "sum":
            return nn.functional.leaky_relu(self.degree(scores.sum(-1, keepdim=True))).squeeze(-1)
        mean, deviation = self.of_data if self.by == "input_deg" else (degrees.mean(), degrees.std())
        return self.degree(x, degrees, mean, deviation)


ADAPTIVE = Entry(SoftAdjacency, inputs=("input", "adjacency"), names=_names)

ENTRIES = {
    "dgm.DGG_LearnableK_debug (noise=False, dense output)": ADAPTIVE,
    "dgm.DGG (dense output)": ADAPTIVE,
}
