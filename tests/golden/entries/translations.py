"""Translational embeddings of knowledge graphs: SparseTransX (arXiv 2502.16949), TransH, TransR and TorusE."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convnn.models import TorusE, TransE, TransH, TransR
from convnn.models.translation import Translation
from convnn.nn.triples import Queries, SparseRows
from convnn.objectives.triples import head_shares, margin_loss
from convnn.ops.triples import incidence
from golden.case import Case
from golden.entry import Entry

NETWORKS = {"TransE": TransE, "TransH": TransH, "TransR": TransR, "TorusE": TorusE}


def _network(case: Case) -> Translation:
    sizes = {"num_classes": "num_nodes", "in_channels": "num_relations", "d_hidden": "dim"}
    settings = {ours: case.config[theirs] for ours, theirs in sizes.items()}
    if case.layer == "TransE":
        settings["dissimilarity"] = f"L{case.config['p_norm']}"
    if case.layer == "TorusE":
        settings["dissimilarity"] = case.config["dissimilarity"].removeprefix("torus_")
    if case.layer == "TransR":
        settings["relation_dim"] = case.config["rel_dim"]
    return NETWORKS[case.layer](SparseRows, **settings)


class Scored(nn.Module):
    """The scores of triples that hold and of others, with the loss first, since gradients are its own."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.network, self.margin = _network(case), case.config["margin"]

    def forward(self, triples: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        self.network.normalise()
        pos, neg = self.network.score(triples), self.network.score(negatives)
        return {"loss": margin_loss(pos, neg, self.margin), "pos": pos, "neg": neg}


def _joined(named: dict[str, Tensor], ours: Scored) -> dict[str, Tensor]:
    """Put entities and relations, where they are apart, into the one table."""
    if "network.table" in dict(ours.named_parameters()) and "network.table" not in named:
        entities, relations = named.pop("network.entities"), named.pop("network.relations")
        named["network.table"] = torch.cat([entities, relations])
    return named


def _more(ours: Scored, case: Case) -> Mapping[str, Tensor]:
    """Return the matrices, the normalised table, scores and hits, and what training makes of it."""
    if case.layer != "TransE":
        return {}
    network, triples, sizes = (
        ours.network,
        case.tensors["triples"],
        (case.config["num_nodes"], case.config["num_relations"]),
    )
    network.normalise()
    found = {"p_head": head_shares(triples, *sizes)}
    for prefix, some in (("adj", triples), ("neg", case.tensors["neg_triples"])):
        matrix = incidence(some, *sizes)
        # The published entries come column by column of the triples.
        index = torch.stack([matrix.lists.query_of_each, matrix.lists.indices]).view(2, -1, 3)
        order = _order(index, case.tensors[f"{prefix}_index"])
        found[f"{prefix}_index"] = index[:, :, order].transpose(1, 2).flatten(1)
        found[f"{prefix}_value"] = matrix.signs.double().view(-1, 3)[:, order].T.flatten()
    found["normalized.embedding"] = network.table.clone()
    found["score_valid"] = -network.score(triples)
    found["hits"] = torch.stack([_hits(network, triples, of_tail, case.config["k"]) for of_tail in (False, True)])
    return found | _trained(ours, case)


def _order(index: Tensor, published: Tensor) -> list[int]:
    """Return the order in which the entries of each row are published: as in the first row that tells them apart."""
    blocks = published.view(2, 3, -1)
    row = next(row for row in range(index.shape[1]) if index[1, row].unique().numel() == 3)
    return [index[1, row].tolist().index(int(blocks[1, part, row])) for part in range(3)]


def _hits(network: Translation, triples: Tensor, of_tail: bool, k: int) -> Tensor:
    asked = Queries(triples, torch.full(triples.shape[:1], of_tail))
    logits = network(asked)
    ranks = (logits > logits.gather(1, asked.wanted[:, None])).sum(1)
    return (ranks < k).double().mean()


def _trained(ours: Scored, case: Case) -> dict[str, Tensor]:
    """Return the losses of the published steps of Adam, and the table after them."""
    if not case.config["steps"]:
        return {}
    table, steps = ours.network.table, case.config["steps"]
    table.data = case.tensors["param.embedding"].clone()
    optimizer, losses = torch.optim.Adam([table], **case.pick("lr", "weight_decay")), []
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss = ours(case.tensors["triples"], case.tensors["neg_triples"])["loss"]
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    after = table.detach().clone()
    names = ("after.embedding", "final.embedding", "trained.embedding", "embedding_after", "param_after.embedding")
    return {"losses": torch.stack(losses)} | dict.fromkeys(names, after)


NAMES = {
    "embedding": "network.table",
    "ent": "network.entities",
    "rel": "network.relations",
    "normal": "network.normals",
    "proj": "network.projections",
}
ENTRIES = {
    layer: Entry(Scored, inputs=("triples", "neg_triples"), outputs=("loss",), names=NAMES, arrange=_joined, also=_more)
    for layer in NETWORKS
}
