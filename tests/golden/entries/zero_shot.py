"""Classifiers of unseen classes from a graph of words (arXiv 1803.08035)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from convnn.nn import graphs
from convnn.tasks.knowledge.zero_shot import ZeroShotGCN, normalised, zero_shot_hits, zero_shot_loss
from golden.case import Case
from golden.entry import Entry


class Learned(nn.Module):
    """The network with its loss, which comes first, since gradients are its own."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = case.config
        sizes = config["in_channels"], config["out_channels"], config["hidden"]
        self.network = ZeroShotGCN(*sizes, normalize="sum", negative_slope=config["negative_slope"])
        self.decay = config["weight_decay"]

    def forward(self, raw: Tensor, edge_index: Tensor, labels: Tensor, train_index: Tensor) -> dict[str, Tensor]:
        output = self.network(raw, edge_index)
        weights = [layer.weight for layer in self.network.layers]
        data = zero_shot_loss(output, labels, train_index)
        loss = zero_shot_loss(output, labels, train_index, weights, weight_decay=self.decay)
        return {"loss": loss, "output": output, "accuracy": data}


def _transposed(named: dict[str, Tensor], _: Learned) -> dict[str, Tensor]:
    return {f"network.layers.{name.rpartition('.')[2]}.weight": value.T for name, value in named.items()}


def _inputs(ours: Learned, case: Case) -> Mapping[str, Tensor]:
    """Return the rows that the network reads, and the matrix, which is what the unit vectors become."""
    edges, units = case.tensors["edge_index"].unique(dim=1), torch.eye(case.config["num_nodes"], dtype=torch.double)
    _, matrix = graphs.propagations(units, edges, hops=1)
    return {"x": normalised(case.tensors["raw_features"], "sum"), "A_hat": matrix}


def _evaluation(case: Case) -> Callable[..., dict[str, Tensor]]:
    def hits(class_id: Tensor, words: Tensor, pred: Tensor, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        number, is_unseen = class_id.T
        is_usable = (number >= 0) & (words != 0).any(1)
        place = {int(one): row for row, one in enumerate(number) if is_usable[row]}
        is_kept = torch.tensor([int(label) in place for label in labels])
        rows = torch.tensor([place[int(label)] for label in labels[is_kept]])
        weights = pred[:, -case.config["fc_dim"] :]
        groups = {"hits_all": is_usable, "hits_unseen": is_usable & (is_unseen == 1)}
        return {
            name: torch.tensor(
                [
                    zero_shot_hits(features[is_kept], rows, weights, among.nonzero().squeeze(1), k)
                    for k in case.config["top"]
                ],
                dtype=torch.double,
            )
            for name, among in groups.items()
        }

    return hits


ENTRIES = {
    "ZeroShotGCN": Entry(
        Learned,
        inputs=("raw_features", "edge_index", "labels", "train_index"),
        outputs=("loss",),
        arrange=_transposed,
        also=_inputs,
    ),
    "zero_shot_evaluation": Entry(
        _evaluation, inputs=("class_id", "word_vectors", "pred", "features", "test_labels"), outputs=("hits_all",)
    ),
}
