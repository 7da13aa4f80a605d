"""Adaptive neighbourhoods (arXiv 2307.09065): edges of a given graph ranked, and how many of them each node keeps."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn import nn as cnn
from convnn.ops import Neighbors, weigh
from golden.case import Case
from golden.entry import Entry, Refused, refuse

EDGES = {
    "u-v-dist": "distance",
    "u-v-deg": "pair",
    "u-v-deg-dist": "pair_distance",
    "u-v-A_uv": "pair_weight",
    "edge_conv": "edge_conv",
    "A_uv": "weight",
}
DEGREES = {"x": "features", "gcn-x-deg": "graph", "input_deg": "degree", "learn_normalized_degree": "degree"}
KEEPING = {"k_times_edge_prob": "scaled", "k_only": "alone"}
NAMES = {
    "m": "",
    "node_encode_for_edges.0": "edges.encode",
    "edge_encode.0": "edges.edge",
    "edge_encode.2": "edges.score",
    "node_encode_for_k.0": "degree.encode",
    "k_embed.0": "degree.hidden",
    "k_W": "degree.mix",
    "k_net.k_mu": "degree.mean",
    "k_net.k_logvar": "degree.log_variance",
    "k_net.k_project": "degree.project",
    # those of the other class
    "node_encoder.0": "edges.encode",
    "edge_encoder.0": "edges.edge",
    "degree_decoder.0": "degree.total",
}
OF_ONE_FORM = {
    "edge_conv": {"edge_conv_theta": "edges.offset", "edge_conv_phi": "edges.own", "edge_conv_encode": "edges.score"},
    "A_uv": {"adj_project": "edges.score"},
    "input_deg": {"input_degree_project": "degree.hidden"},
    "learn_normalized_degree": {"input_degree_project": "degree.hidden"},
}
"""Parameters that are always present and have a place in ours; replaced ones have no gradient in the file."""


class SoftAdjacency(nn.Module):
    """A learned graph on nodes (N, C), dense as published: (N, N)."""

    def __init__(self, edges: nn.Module, degree: nn.Module, keeping: str, of_data: tuple | None) -> None:
        super().__init__()
        self.edges, self.degree, self.keeping, self.of_data = edges, degree, keeping, of_data

    def forward(self, x: Tensor, adjacency: Tensor) -> dict[str, Tensor]:
        count = len(x)
        everybody, nodes = torch.arange(count).expand(1, count, count), torch.arange(count)
        is_none, degrees = adjacency[None] == 0, adjacency.sum(-1)[None]
        ranked = self.edges(x[None], nodes, Neighbors(everybody, adjacency[None]), degrees)
        ranked = ranked._replace(scores=ranked.scores.masked_fill(is_none, 0))  # not edges, so they come last
        mean, deviation = (degrees.mean(), degrees.std()) if self.of_data is None else self.of_data
        wishes = self.degree(x[None], nodes, ranked, degrees, mean, deviation, adjacency[None])
        kept = weigh.soft_top(ranked, wishes, keeping=self.keeping)
        out = torch.zeros(count, count, dtype=x.dtype).scatter(1, kept.indices[0], kept.scores[0])
        codes = F.leaky_relu(self.edges.encode(x)) if hasattr(self.edges, "encode") else x
        inside = {"edge_prob": ranked.scores[0], "degree_k": wishes[0, :, None], "encoded_x": codes}
        return {"output": out, **inside}


def _learnable(case: Case) -> nn.Module:
    args, sizes = case.config["args"], (case.config["in_dim"], case.config["latent_dim"])
    if args["dgg_hard"]:
        raise Refused("dgg_hard: the sorted order is applied to what is unsorted already, so entries are wrong")
    if args["perturb_edge_prob"] and case.is_training:
        raise Refused("perturb_edge_prob: Gumbel noise on the scores of edges")
    edge, degree, keeping = (args[f"dgg_mode_{name}"] for name in ("edge_net", "k_net", "k_select"))
    for mode, known in ((edge, EDGES), (degree, DEGREES), (keeping, KEEPING)):
        if mode not in known:
            raise Refused(f"mode {mode!r}, which fails or has no effect as published")
    eps = 0.0 if degree == "learn_normalized_degree" else 1e-5
    return SoftAdjacency(
        cnn.EdgeRanker(*sizes, EDGES[edge]),
        cnn.DegreeEstimator(*sizes, DEGREES[degree], stochastic=args["stochastic_k"], eps=eps),
        KEEPING[keeping],
        (args["deg_mean"], args["deg_std"]) if degree == "input_deg" else None,
    )


def _names(case: Case) -> dict[str, str | None]:
    args = case.config["args"]
    names: dict[str, str | None] = dict(NAMES)
    for form in (args["dgg_mode_edge_net"], args["dgg_mode_k_net"]):
        mine = OF_ONE_FORM.get(form, {})
        names = {theirs: None if ours in mine.values() else ours for theirs, ours in names.items()} | mine
    return names


def _first(case: Case) -> nn.Module:
    refuse(case, extra_edge_dim="more numbers of each edge")
    sizes = case.config["in_dim"], case.config["latent_dim"]
    degree = cnn.DegreeEstimator(*sizes, "scores")
    return SoftAdjacency(cnn.EdgeRanker(*sizes, "difference"), degree, "added", None)


ENTRIES = {
    "dgm.DGG_LearnableK_debug (noise=False, dense output)": Entry(
        _learnable, inputs=("input", "adjacency"), names=_names
    ),
    "dgm.DGG (dense output)": Entry(_first, inputs=("input", "adjacency"), names=NAMES),
}
