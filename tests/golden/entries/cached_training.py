"""Training with kept embeddings and gradients: IGLU."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data.geometric import import_geometric
from convnn.objectives.cached import LazyTrainer
from convnn.ops import edges
from golden.case import Case
from golden.entry import Entry


class Norm(nn.Module):
    """Normalisation over features with the published scale S, offset O and epsilon."""

    def __init__(self, case: Case, name: str) -> None:
        super().__init__()
        self.S, self.O = (nn.Parameter(case.tensors[f"param0.{name}_{part}"].clone()) for part in "SO")

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], self.S[0], self.O[0], eps=1e-9)


class Convolution(nn.Module):
    """A_hat X Q + b, normalised and rectified but for the last layer."""

    def __init__(self, case: Case, matrix: str, bias: str, norm: str | None = None) -> None:
        super().__init__()
        self.matrix, self.bias = (nn.Parameter(case.tensors[f"param0.{name}"].clone()) for name in (matrix, bias))
        self.norm = None if norm is None else Norm(case, norm)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        out = edges.propagate(x, edge_index, edge_weight) @ self.matrix + self.bias
        return out if self.norm is None else self.norm(out).relu()


class Sage(nn.Module):
    """The normalised halves of neighbours and of the node itself."""

    def __init__(self, case: Case, matrix: str, norm: str) -> None:
        super().__init__()
        self.halves = nn.ParameterList([case.tensors[f"param0.{matrix}{half}"].clone() for half in "12"])
        self.norms = nn.ModuleList([Norm(case, f"{norm}{half}") for half in "12"])

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        both = edges.propagate(x, edge_index, edge_weight) @ self.halves[0], x @ self.halves[1]
        return torch.cat([norm(half.relu()) for norm, half in zip(self.norms, both, strict=True)], 1)


class SageHead(Sage):
    """The same, of length one, times w."""

    def __init__(self, case: Case) -> None:
        super().__init__(case, "R", "L2")
        self.w = nn.Parameter(case.tensors["param0.w"].clone())

    def forward(self, *inputs: Tensor) -> Tensor:
        z = super().forward(*inputs)
        return z * z.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt() @ self.w


def _iglu(case: Case, layers: list[nn.Module], names: list[list[str]], **settings: str) -> Mapping[str, Tensor]:
    """Train as published; `names` are those of the parameters of each layer, in our order."""
    tensors, config = case.tensors, case.config
    assert config["optimizer"] == "SGD"
    data = import_geometric("data").Data(
        x=tensors["x"], edge_index=tensors["edge_index"].flip(0), edge_weight=tensors["edge_weight"]
    )
    data.y, data.train_mask = tensors["labels"], torch.zeros(data.num_nodes, dtype=torch.bool)
    data.train_mask[tensors["train_index"]] = True
    head_batches = [tensors[f"train_batch.{i}"] for i in range(config["batches"])]
    layer_batches = list(case.named("node_batch").values()) or head_batches
    optimizers = [torch.optim.SGD(layer.parameters(), config["lr"]) for layer in layers]
    *hidden, head = layers
    given = {"layer_batches": layer_batches, "head_batches": head_batches}
    trainer = LazyTrainer(hidden, head, data, optimizers, **given, **settings)
    first = 1 if len(hidden) == 1 else 2  # how the embeddings are counted
    of_layers, of_head = ("node_order", "train_order") if "node_order" in tensors else ("q_order", "r_order")
    orders = [tensors[of_layers]] * len(hidden) + [tensors[of_head]]
    found = {}
    trainer.refresh_gradients()
    for k, (blocks, each) in enumerate(zip(trainer._blocks, names, strict=True)):
        goal = torch.stack([trainer.objective(k, block) for block in blocks]).sum()
        grads = torch.autograd.grad(goal, list(layers[k].parameters()))
        found |= {f"full_grad0.{name}": grad for name, grad in zip(each, grads, strict=True)}
    for epoch in range(config["epochs"]):
        trainer.epoch([order[epoch] for order in orders])
        found |= {f"alpha{k}.{epoch}": alpha for k, alpha in enumerate(trainer.gradients, 2)}
        found |= {f"x{k}.{epoch + 1}": x for k, x in enumerate(trainer.embeddings[1:], first)}
        logits = found[f"logits.{epoch + 1}"] = trainer.logits()
        found[f"train_loss.{epoch + 1}"] = F.cross_entropy(logits[trainer.train], data.y[trainer.train])
        for layer, each in zip(layers, names, strict=True):
            values = [value.detach().clone() for value in layer.parameters()]
            found |= {f"param{epoch + 1}.{name}": value for name, value in zip(each, values, strict=True)}
    return found


def _convolutions(case: Case) -> Mapping[str, Tensor]:
    layers = [Convolution(case, "Q", "b1", "L1"), Convolution(case, "R", "b2", "L2"), Convolution(case, "w", "b3")]
    names = [["Q", "b1", "L1_S", "L1_O"], ["R", "b2", "L2_S", "L2_O"], ["w", "b3"]]
    return _iglu(case, layers, names, reduction="sum")


def _sage(case: Case) -> Mapping[str, Tensor]:
    names = [
        ["Q1", "Q2", "L11_S", "L11_O", "L12_S", "L12_O"],
        ["w", "R1", "R2", "L21_S", "L21_O", "L22_S", "L22_O"],
    ]
    return _iglu(case, [Sage(case, "Q", "L1"), SageHead(case)], names, reduction="mean", head_reduction="sum")


ENTRIES = {
    "IGLU, 3-layer GCN (transductive arxiv script)": Entry(lambda case: lambda: _convolutions(case), ()),
    "IGLU, 2-layer SAGE-like (inductive flickr script)": Entry(lambda case: lambda: _sage(case), ()),
}
