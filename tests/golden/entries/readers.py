"""Completion by reading a subgraph (KG-R3, arXiv 2212.09724)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.models.readers.retrieve import Retriever
from convnn.models.readers.subgraphs import SubgraphReader, SubgraphTokens, subgraph_tokens
from golden.case import Case
from golden.entry import Entry

NAMES = {
    "ent_embedding": "reader.entities",
    "rel_embedding": "reader.relations",
    "type_embeds": "reader.types",
    "type_embeds_query": "reader.query_types",
    "cls_query": "reader.cls",
    "subgraph_self_attn_encoder_layer_norm": "reader.norm",
    "layer_norm_query": "reader.query_norm",
    "layer_norm_query_cross_attn": "reader.cross_norm",
    "subgraph_self_attn_encoder.layer": "reader.blocks",
    "self_attention_encoder_query.layer": "reader.query_blocks",
    "encoder_query_cross_attn.layer": "reader.cross",
    "W": "reader.last",
}
IN_A_BLOCK = {
    "attention.output.dense": "self_attn.out_proj",
    "crossattention.output.dense": "multihead_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "crossattention.output.LayerNorm": "norm2",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
}


class Read(nn.Module):
    """The published tokens read, with the loss first, since gradients are its own."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config, tensors = case.config, case.tensors
        nodes, relations = (len(tensors[f"param.{name}_embedding.weight"]) - 1 for name in ("ent", "rel"))
        segments = next((len(value) for name, value in case.named("param").items() if "segment" in name), 0)
        self.reader = SubgraphReader(
            nodes,
            relations,
            dim=config["dim"],
            heads=config["heads"],
            layers=config["layers"],
            intermediate=config["intermediate"],
            cross_layers=config["cross_layers"] if config["variant"] == "cross" else 0,
            cross_heads=config["cross_heads"],
            segments=segments,
            dropout=0.0,
            input_dropout=0.0,
            mask_padding=False,
        )
        self.smoothing = config["label_smoothing"]

    def forward(
        self, ids: Tensor, kinds: Tensor, mask: Tensor, segments: Tensor | None, ent: Tensor, rel: Tensor, label: Tensor
    ) -> dict[str, Tensor]:
        logits = self.reader(SubgraphTokens(ids, kinds.bool(), mask.bool(), segments), ent, rel)
        return {"loss": F.cross_entropy(logits, label, label_smoothing=self.smoothing), "output": logits}


def _names(case: Case) -> dict[str, str]:
    segment = {name.removesuffix(".weight"): "reader.segments" for name in case.named("param") if "segment" in name}
    return NAMES | segment


def _blocks(named: dict[str, Tensor], ours: Read) -> dict[str, Tensor]:
    """Rename the parts of a block, and join queries, keys and values."""
    found: dict[str, Tensor] = {}
    for name, value in named.items():
        parts = name.split(".")
        if parts[1] not in ("blocks", "query_blocks", "cross"):
            found[name] = value
            continue
        block, part, kind = ".".join(parts[:3]), ".".join(parts[3:-1]), parts[-1]
        if part == "output.LayerNorm":
            found[f"{block}.{'norm3' if parts[1] == 'cross' else 'norm2'}.{kind}"] = value
        elif part in IN_A_BLOCK:
            found[f"{block}.{IN_A_BLOCK[part]}.{kind}"] = value
        elif part.endswith("self.query"):
            theirs = part.removesuffix("query")
            places = [f"{block}.{theirs}{one}.{kind}" for one in ("query", "key", "value")]
            attention = "multihead_attn" if part.startswith("cross") else "self_attn"
            found[f"{block}.{attention}.in_proj_{kind}"] = torch.cat([named[place] for place in places])
    return found


def _retrieved(ours: Read, case: Case) -> Mapping[str, Tensor]:
    """Return the subgraphs from the published draws, their tokens, and the last query by itself."""
    tensors, count = case.tensors, len(case.tensors["query"])
    nodes, relations = ours.reader.num_nodes, ours.reader.num_relations
    edges = [tensors[f"edges.{i}"].reshape(-1, 3) for i in range(count)]
    tokens = subgraph_tokens(edges, tensors["ent_ids"], nodes, relations)
    found = {"input_ids": tokens.ids, "attention_mask": tokens.mask.long()}
    if "segment_ids" not in tensors:
        alone = subgraph_tokens(edges[-1:], tensors["ent_ids"][-1:], nodes, relations)
        found["output_last_alone"] = ours.reader(alone, tensors["ent_ids"][-1:], tensors["rel_ids"][-1:])[0]
    if case.config["sampler"] == "bfs":
        for i in range(count):
            draws = iter(tensors[f"sample.{i}.draws"].tolist())
            retriever = Retriever(
                tensors["triples"], nodes, draw=lambda _, n, draws=draws: [next(draws) for _ in range(n)]
            )
            size, n = case.config["sample_size"], case.config["neigh_size"]
            found[f"sample.{i}.edge_ids"] = retriever.bfs(int(tensors["ent_ids"][i]), size, n)
    return found


ENTRIES = {
    "KGR3Reader": Entry(
        Read,
        inputs=(
            "input_ids",
            "token_type_ids",
            "attention_mask",
            "segment_ids",
            "ent_ids",
            "rel_ids",
            "ent_masked_lm_labels",
        ),
        outputs=("loss",),
        names=_names,
        arrange=_blocks,
        also=_retrieved,
        aside=("ent_len_tensor", *(f"sample.{i}.{what}" for i in range(8) for what in ("sizes", "draws", "edge_ids"))),
    )  # sizes of the draws, which follow from them; the definition leaves open which of equal one-hop draws count
}
