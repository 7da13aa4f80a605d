"""Completion of statements with qualifiers (HyperFormer, arXiv 2308.06512)."""

import torch
from torch import Tensor, nn

from convnn.models.readers.statements import SPECIALS, StatementReader, smoothed_cross_entropy, statement_loss
from golden.case import Case
from golden.entry import Entry, refuse

JOINED = {"dismult": "product", "transe": "sum", "complex": "complex"}
NAMES = {
    "ele_embedding": "reader.table",
    "entity_or_relation_layernorm_layer": "reader.norm",
    "triple_encoder.norm": "reader.last_norm",
    "triple_encoder.layers": "reader.blocks",
    "sublayer.0.norm": "norm1",
    "sublayer.1.norm": "norm2",
    "feed_forward.layer_norm": "norm2",
    "feed_forward.gate.gate": "feed.gate",
    "feed_forward.w1": "feed.0",
    "feed_forward.w2": "feed.2",
    "feed_forward.w_1": "feed.0",
    "feed_forward.w_2": "feed.2",
    "self_attn.linears.3": "attention.out_proj",
    "conv_filt": "reader.interaction.filters",
    "bn0": "reader.interaction.norm_board",
    "bn1": "reader.interaction.norm_channels",
    "bn3": "reader.interaction.norm",
    "fc2": "reader.interaction.linear",
    "fuse_net.linear": "reader.fuse",
}


class Completed(nn.Module):
    """The published statements completed, with the loss first, since gradients are its own."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = case.config
        if not config["interact"]:
            refuse(case, layers="use_interacte False: qualifier prompts with a loss of their own are in no file")
        refuse(case, extra_encoder="a second encoder of the neighbours is no part of the published run")
        self.reader = StatementReader(
            config["num_entities"],
            config["num_relations"],
            shape=(config["width"], config["height"]),
            heads=config["heads"],
            layers=config["layers"],
            hidden=config["intermediate"],
            experts=config["experts"] if config["moe"] else 0,
            top_k=config["top_k"],
            channels=config["channels"],
            kernel=config["kernel"],
            boards=config["permutations"],
            joined=JOINED[config["ablation"]],
            dropout=0.0,
            mask_padding=False,
        )
        self.reader.interaction.order = case.tensors["chequer_perm"]
        self.smoothing, self.filters = config["label_smoothing"], case.tensors["filters"]

    def forward(
        self, ids: Tensor, contexts: Tensor, qualifiers: Tensor, labels: Tensor, of_neighbors: Tensor
    ) -> dict[str, Tensor]:
        logits = self.reader(ids, contexts, qualifiers)
        return {
            "loss": statement_loss(logits, labels, of_neighbors, self.smoothing),
            "logits_triple": logits.statement,
            "logits_mixed": logits.mixed,
            "logits_entity_neighbors": logits.neighbors,
            "rank": self._rank(logits.statement.log_softmax(1) + logits.mixed.log_softmax(1), labels),
            "validation_rank": self._rank(logits.statement, labels),
            "validation_loss": smoothed_cross_entropy(logits.statement, labels + SPECIALS, self.smoothing),
        }

    def _rank(self, logits: Tensor, labels: Tensor) -> Tensor:
        scores = logits.detach()[:, SPECIALS : SPECIALS + self.reader.num_entities].clone()
        scores[tuple(self.filters.T)] = -torch.inf
        return 1 + (scores > scores.gather(1, labels[:, None])).sum(1)


def _arranged(named: dict[str, Tensor], _: Completed) -> dict[str, Tensor]:
    """Join queries, keys and values, and name the layers of experts as ours."""
    found: dict[str, Tensor] = {}
    for name, value in named.items():
        if ".self_attn.linears." in name:
            block, _, rest = name.partition(".self_attn.linears.")
            number, kind = rest.split(".")
            if number == "0":
                parts = [named[f"{block}.self_attn.linears.{i}.{kind}"] for i in range(3)]
                found[f"{block}.attention.in_proj_{kind}"] = torch.cat(parts)
        elif ".feed_forward.experts." in name:
            block, _, rest = name.partition(".feed_forward.experts.")
            number, layer, kind = rest.split(".")
            found[f"{block}.feed.{'into' if layer == 'htoh4' else 'out'}.{number}.{kind}"] = value[0]
        else:
            found[name] = value
    return found


ENTRIES = {
    "HyperFormer": Entry(
        Completed,
        inputs=("input_ids", "context_ids", "qualifier_ids", "labels", "neighbors_labels"),
        outputs=("loss",),
        names=NAMES,
        arrange=_arranged,
        aside=("relations_labels",),
    )
}
