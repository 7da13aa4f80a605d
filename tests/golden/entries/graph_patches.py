"""Patches of graphs as tokens: arXiv 2212.13350."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from convnn.nn.graphs.patches.cut import Patches, coarse_adjacency, cut_patches, node_walks, walk_encoding
from convnn.nn.graphs.patches.mixer import Encodings, GraphPatchMixer
from golden.case import Case
from golden.entry import Entry, Refused

MIXINGS = {
    "MLPMixer": "mlp",
    "Standard": "standard",
    "Hadamard": "hadamard",
    "Graph": "graph",
    "Kernel": "kernel",
    "Addictive": "additive",
}
INPUTS = (
    "x",
    "rw_pos_enc",
    "patch_pe",
    "coarsen_adj",
    "edge_attr",
    "node_mapper",
    "node_batch",
    "edge_mapper",
    "combined_edge_index",
    "mask",
    "lap_pos_enc",
)
NAMES = {
    "input_encoder": "encoder",
    "rw_encoder.layers.0": "of_encodings.walks.linear",
    "rw_encoder.norms.0": "of_encodings.walks.norm",
    "lap_encoder.layers.0": "of_encodings.eigenvectors.linear",
    "lap_encoder.norms.0": "of_encodings.eigenvectors.norm",
    "patch_rw_encoder.layers.0": "of_encodings.patch_walks.linear",
    "patch_rw_encoder.norms.0": "of_encodings.patch_walks.norm",
    "output_decoder.layers.0": "head.0.linear",
    "output_decoder.norms.0": "head.0.norm",
    "output_decoder.layers.1": "head.1",
    "transformer_encoder.layer_norm": "norm",
    "transformer_encoder.mixer_blocks": "mixers",
    "transformer_encoder.transformer_encoder": "mixers",
    "token_mix.0": "token_norm",
    "token_mix.2.net.1": "over_tokens.0",
    "token_mix.2.net.4": "over_tokens.3",
    "channel_mix.0": "channel_norm",
    "channel_mix.1.net.1": "over_channels.0",
    "channel_mix.1.net.4": "over_channels.3",
    "self_attn": "attention",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "output",
    "linear1": "mlp.0",
    "linear2": "mlp.3",
    "norm1": "attention_norm",
    "norm2": "mlp_norm",
    "gnns": "layers",
    "convs.0.layer": "conv",
    "convs.0.nn.layers.0": "conv.nn.0",
    "convs.0.nn.norms.0": "conv.nn.1",
    "convs.0.nn.layers.1": "conv.nn.3",
    "output_encoder": "output",
    "norms.0": "norm",
}
KNOWN = ("q_proj", "k_proj", "v_proj", "out_proj", "in_proj_weight", "in_proj_bias")


def _names(case: Case) -> dict[str, str | None]:
    """Return our names; those of modules that nothing reads have none."""
    names: dict[str, str | None] = dict(NAMES)
    for kind in ("param", "buffer"):
        for name in case.named(kind):
            parts = name.split(".")
            if "norm3" in parts or name.startswith("output_decoder.norms.1") or ".nn.norms.1." in name:
                names[name] = None
            elif name.startswith("U."):  # of the layer after
                inner = "linear" if parts[2] == "layers" else "norm"
                names[name] = f"layers.{int(parts[1]) + 1}.exchange.{inner}.{parts[-1]}"
            elif "self_attn" in parts and parts[parts.index("self_attn") + 1] not in KNOWN:
                place = ".".join(parts[parts.index("self_attn") - 1 : parts.index("self_attn")])
                names[name] = f"mixers.{place}.attention.by_adjacency.{parts[-1]}"
            elif name.startswith("edge_encoder") and case.config["gnn_type"] == "GCNConv":
                names[name] = None
    return names


def _arranged(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    """Split queries, keys and values, which may come as one matrix."""
    found = {}
    for name, value in named.items():
        before, _, last = name.rpartition(".")
        if last.startswith("in_proj_"):
            kind = last.removeprefix("in_proj_")
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            found |= {f"{before}.{part}.{kind}": one for part, one in parts}
        else:
            found[name] = value
    return found


def _layer(case: Case) -> Callable[[int, int], nn.Module]:
    from torch_geometric import nn as geometric

    from convnn.nn.graphs import GINE

    kind = case.config["gnn_type"]
    if kind == "GINEConv":
        return GINE
    if kind != "GCNConv":
        raise Refused(f"gnn_type={kind!r}: any layer of PyTorch Geometric can be given, but only two are compared")
    bias = any(name.endswith("convs.0.layer.bias") for name in case.named("param"))
    return lambda before, after: geometric.GCNConv(before, after, bias=bias)


def _mixer(case: Case) -> nn.Module:
    config = case.config
    return GraphPatchMixer(
        config["nfeat_node"],
        config["nhid"],
        config["nout"],
        config["n_patches"],
        layer=_layer(case),
        num_layers=config["nlayer_gnn"],
        num_mixers=config["nlayer_mlpmixer"],
        mixing=MIXINGS[config["gMHA_type"]],
        pooling=config["pooling"],
        walk_dim=config.get("rw_dim", 0),
        eigenvector_dim=config.get("lap_dim", 0),
        patch_walk_dim=config.get("patch_rw_dim", 0),
        edge_channels=config["nfeat_edge"] if config["gnn_type"] == "GINEConv" else None,
        heads=config.get("nhead", 8),
    )


def _mix(ours: GraphPatchMixer, *inputs: Tensor | None) -> Tensor:
    x, walks, patch_walks, adjacency, edge_attr, node, patch, edge, edge_index, mask, vectors = inputs
    graph_of = torch.zeros(len(x), dtype=torch.long)  # only its length is read
    patches = Patches(node, patch, edge, edge_index, mask.bool().view(-1, mask.shape[-1]), graph_of)
    parts = (walks, vectors, None if patch_walks is None else patch_walks.view(*patches.mask.shape, -1), adjacency)
    return ours(x, patches, Encodings(*parts), edge_attr if ours.edge_channels else None)


def _partition(case: Case) -> Callable[..., dict[str, Any]]:
    config = case.config

    def cut(edge_index: Tensor, membership: Tensor) -> dict[str, Tensor]:
        graph_of = torch.zeros(config["num_nodes"], dtype=torch.long)
        patches = cut_patches(
            edge_index, membership, graph_of, 1, parts=config["n_patches"], num_hops=config["num_hops"]
        )
        double = torch.float64
        diffusion = config["patch_num_diff"]
        walks = node_walks(edge_index, graph_of, 1, config["rw_dim"], double)
        shared = coarse_adjacency(patches, double)
        return {
            "node_mapper": patches.node,
            "node_batch": patches.patch,
            "edge_mapper": patches.edge,
            "combined_edge_index": patches.edge_index,
            "mask": patches.mask[0],
            "rw_pos_enc": walks,
            "patch_pe": walk_encoding(shared, config["patch_rw_dim"])[0],
            **({} if diffusion < 0 else {"coarsen_adj": coarse_adjacency(patches, double, diffusion)[0]}),
        }

    return cut


ENTRIES = {
    "GraphPartitionTransform": Entry(_partition, inputs=("edge_index", "membership"), outputs=("node_mapper",)),
    "GraphMLPMixer": Entry(_mixer, inputs=INPUTS, names=_names, arrange=_arranged, call=_mix, aside=("edge_index",)),
}
