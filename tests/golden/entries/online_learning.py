"""Online labels of nodes by local push (FastONL)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from convnn.learners.online_relaxation import KERNELS, OnlineNodeClassifier, relaxed_hinge, water_filling
from golden.case import Case
from golden.entry import Entry, Refused

NAMES = list(KERNELS)


def _stream(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config, tensors = case.config, case.tensors
    if not config["weighted"] and (tensors["edge_weight"] != 1).any():
        raise Refused("weighted=False: on a weighted graph sums are wrong, weights always count")

    def run(edge_index: Tensor, edge_weight: Tensor, y: Tensor, order: Tensor) -> Mapping[str, Tensor]:
        adjacency = csr_array((edge_weight.detach().numpy(), tuple(edge_index.numpy())), shape=(len(y), len(y)))
        settings = {"lam": config["lam"], "eps": config["eps"]}
        ours = OnlineNodeClassifier(adjacency, NAMES[config["kernel"] - 1], **settings)
        classes = range(config["n_classes"])
        ours.partial_fit([], [], classes=classes)
        _, alpha, factor = KERNELS[ours.kernel](config["lam"], len(y))
        if not np.allclose((alpha, factor), (config["alpha"], config["coeff"]), rtol=1e-12):
            raise ValueError(f"alpha is {alpha}, and the factor {factor}")
        rows: dict[str, list] = {"scores": [], "probability": [], "loss": []}
        prediction = torch.zeros_like(y)
        for node in order.tolist():
            scores, label = ours.scores([node]), y[[node]].numpy()
            rows["scores"].append(scores)
            rows["probability"].append(ours.predict_proba([node]))
            rows["loss"].append(relaxed_hinge(scores, label)[0] if label >= 0 else np.zeros(1))
            prediction[node] = int(ours.progressive_predict([node], label)[0])
        columns = torch.zeros(3, len(y), dtype=torch.float64)
        for row, node in zip(columns, order[:3].tolist(), strict=True):
            near, values = ours.push_(node)
            row[near] = values
        found = {name: torch.from_numpy(np.concatenate(each)) for name, each in rows.items()}
        return found | {"prediction": prediction, "push_columns": columns} | _checks(case)

    return run


def _relaxed(psi: Tensor, label: Tensor) -> Mapping[str, Tensor]:
    """Return water filling, loss and gradient of score vectors."""
    loss, gradient = relaxed_hinge(psi.detach().numpy(), label.numpy())
    q = water_filling(psi.detach().numpy())
    return {"q": torch.from_numpy(q), "loss": torch.from_numpy(loss), "grad": torch.from_numpy(gradient)}


def _checks(case: Case) -> Mapping[str, Tensor]:
    """Return the same of further score vectors in a file of a stream."""
    given = case.named("check")
    if not {"psi", "label"} <= given.keys():
        return {}
    return {f"check.{name}": each for name, each in _relaxed(given["psi"], given["label"]).items()}


ENTRIES = {
    "algo.fast_onc": Entry(_stream, ("edge_index", "edge_weight", "y", "order")),
    "utils.find_water_filling, utils.loss_grad_val": Entry(lambda _: _relaxed, ("psi", "label")),
}
