"""Recommendation: UltraGCN (arXiv 2110.15114) and LCFN (ICML 2020). LightGCN stands among the sums over graphs."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convnn.nn import graphs
from convnn.objectives import ranking
from convnn.objectives.infinite_layers import infinite_layers, pair_weights, ultra_loss
from convnn.ops import select
from golden.case import Case
from golden.entry import Entry

# UltraGCN


class Ultra(nn.Module):
    """Everything that the published code computes for a batch."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = self.config = case.config
        self.sizes = config["num_users"], config["num_items"]
        self.model = graphs.UserItemEmbeddings(*self.sizes, dim=config["dim"])
        self.constants = infinite_layers(
            case.tensors["interactions"].T, *self.sizes, config["num_neighbors"], zero_diagonal=config["diagonal_zero"]
        )

    def forward(self, users: Tensor, positives: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        config, tables = self.config, (self.model.users.weight, self.model.items.weight)
        weights, names = tuple(config["w"]), ("beta_user", "beta_item")
        choices, similar = ultra_loss(
            tables,
            self.constants,
            users,
            positives,
            negatives,
            weights=weights,
            negative_weight=config["negative_weight"],
        )
        decay = sum(table.square().sum() for table in tables) / 2
        parts = pair_weights(self.constants, users, positives, negatives, weights)
        return {
            "loss": choices + config["gamma"] * decay + config["lambda_"] * similar,
            "loss_L": choices,
            "loss_I": similar,
            "loss_norm": decay,
            "omega": torch.cat([part.flatten() for part in parts]),
            **dict(zip(names, self.constants[:2], strict=True)),
        }


def _of_ultra(ours: Ultra, case: Case) -> Mapping[str, Tensor]:
    """Return neighbours, where they have something in common, scores and figures over all users."""
    known, found = case.tensors["item_omega"] > 0, {}
    found["item_omega"] = ours.constants.weights
    found["item_neighbors"] = ours.constants.neighbors.where(known, case.tensors["item_neighbors"])
    scores = ours.model.users.weight @ ours.model.items.weight.T
    found["scores"] = scores
    everybody, k = torch.arange(ours.sizes[0]), case.config["k"]
    pairs = [case.tensors[name].T for name in ("interactions", "test_interactions")]
    train, test = (ranking.interaction_mask(part, everybody, *ours.sizes) for part in pairs)
    best = select.highest(scores, k, excluded=train)
    share = test.any(1).double().mean()
    precision, recall, ndcg = (getattr(ranking, name)(best, test) * share for name in ("precision", "recall", "ndcg"))
    figures = [2 * precision * recall / (precision + recall), precision, recall, ndcg]
    found["metrics"] = torch.stack([torch.as_tensor(figure, dtype=torch.double) for figure in figures])
    return found | _trained(ours, case)


def _trained(ours: Ultra, case: Case) -> dict[str, Tensor]:
    """Return the losses and embeddings of steps of Adam: on the batch of the file, or on one of its own for each."""
    batches = [case.tensors[name] for name in ("users", "pos", "neg")]
    many, losses = batches[0].dim() == 2, []
    optimizer = torch.optim.Adam(ours.parameters(), case.config["lr"])
    with torch.enable_grad():
        for step in range(case.config["steps"]):
            loss = ours(*(part[step] if many else part for part in batches))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    if not losses:
        return {}
    tables = {"user": ours.model.users.weight, "item": ours.model.items.weight}
    return {"losses": torch.stack(losses)} | {f"trained.{name}": table.detach() for name, table in tables.items()}


# LCFN


class LowPass(nn.Module):
    """Everything that the published code computes for a batch, on the bases of the file."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = case.config
        self.sizes, self.decay = (config["num_users"], config["num_items"]), config["decay"]
        widths = {"user_frequencies": config["passband_user"], "item_frequencies": config["passband_item"]}
        self.model = graphs.LCFN(
            *self.sizes, **case.pick("dim", "num_layers"), **widths, weigh_hyperedges=config["weighted"]
        ).double()
        self.model.user_basis.copy_(case.tensors["P"])
        self.model.item_basis.copy_(case.tensors["Q"])

    def forward(self, interactions: Tensor, users: Tensor, positives: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        of_users, of_items = self.model(interactions.T)
        scores = of_users[users] @ of_items.T
        chosen, other = (scores.gather(1, items[:, None]).squeeze(1) for items in (positives, negatives))
        parts = [self.model.users(users), self.model.items(positives), self.model.items(negatives)]
        batch = len(users)
        bpr = batch * ranking.bpr_loss(chosen, other)
        loss = batch * ranking.bpr_loss(chosen, other, [*parts, *self.model.decaying()], decay=self.decay)
        mask = ranking.interaction_mask(interactions.T, users, *self.sizes)
        return {
            "loss": loss,
            "bpr": bpr,
            "reg": (loss - bpr) / self.decay,
            "out_users": of_users,
            "out_items": of_items,
            "scores": scores - 1e5 * mask,
        }


def _of_low_pass(ours: LowPass, case: Case) -> Mapping[str, Tensor]:
    """Return ranking, Laplacians, and the vectors of the file projected on our own where these are determined."""
    scores, edges = ours(*(case.tensors[name] for name in INPUTS))["scores"], case.tensors["interactions"].T
    k, items = case.config["k"], case.tensors["test_items"]
    best = select.highest(scores, k)
    relevant = torch.zeros(scores.shape, dtype=torch.bool).scatter(1, items.clamp_min(0), items >= 0)
    figures = [f(best[:, :n], relevant) for n in (3, k) for f in (_f1, ranking.ndcgs)]
    found: dict[str, Tensor] = {"topk": best, "metrics": torch.stack(figures, 1)}
    roots = graphs.hypergraph_roots(edges, *ours.sizes, weighted=case.config["weighted"])
    bands = case.config["passband_user"], case.config["passband_item"]
    bases = graphs.hypergraph_bases(edges, *ours.sizes, *bands, weighted=case.config["weighted"])
    are_sure = []
    for name, side, root, basis in zip("PQ", ("user", "item"), roots, bases, strict=True):
        laplacian = torch.eye(root.shape[0], dtype=torch.double) - torch.from_numpy((root @ root.T).toarray())
        values = torch.linalg.eigvalsh(laplacian)
        found |= {f"laplacian_{side}": laplacian, f"eigenvalues_{side}": values}
        width = basis.shape[1]
        are_sure.append(width == len(values) or bool(values[width] - values[width - 1] > 1e-9))
        if are_sure[-1]:
            found[name] = basis @ (basis.T @ case.tensors[name])
    if all(are_sure):
        users, items = bases
        chosen = torch.zeros(ours.sizes, dtype=torch.double).index_put_((*edges,), torch.ones((), dtype=torch.double))
        found["lowpass_R"] = users @ (users.T @ chosen @ items) @ items.T
    return found


def _f1(best: Tensor, relevant: Tensor) -> Tensor:
    hits = relevant.gather(1, best).sum(1).double()
    precision, recall = hits / best.shape[1], ranking.recalls(best, relevant)
    return torch.where(hits > 0, 2 * precision * recall / (precision + recall), 0.0)


INPUTS = ("interactions", "users", "pos", "neg")

ENTRIES = {
    "UltraGCN": Entry(
        Ultra,
        inputs=("users", "pos", "neg"),
        names={"user": "model.users.weight", "item": "model.items.weight"},
        also=_of_ultra,
    ),
    "LCFN": Entry(
        LowPass,
        inputs=INPUTS,
        names={
            "user": "model.users.weight",
            "item": "model.items.weight",
            "filter_user": "model.user_factors",
            "filter_item": "model.item_factors",
            "transform": "model.transforms",
        },
        also=_of_low_pass,
    ),
}
