"""IGLU: one layer a step, from kept embeddings of all nodes and the kept gradients of the loss (ICLR 2022)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from convnn.errors import InputError, check_at_least, check_choice
from convnn.objectives.cached.blocks import Block, block
from convnn.ops.ragged import Lists

Layer = Callable[..., Tensor]
"""Called as `layer(x, edge_index)`, or with `edge_weight` where the graph has weights."""

REFRESHES = ("epoch", "step")
REDUCTIONS = ("mean", "sum")


class LazyTrainer:
    r"""Train layers on a graph one at a time, on batches of nodes and their neighbours.

    Of the network :math:`X^k = f_k(X^{k-1}), k = 1, \ldots, K`, logits :math:`g(X^K)`, it keeps all embeddings
    :math:`X^k` and all gradients :math:`\alpha^k = dL / dX^k`. An epoch:

    1. :math:`\alpha^K` from the loss, then :math:`\alpha^{k} = d \langle \alpha^{k+1}, f_{k+1}(X^k) \rangle / dX^k`.
    2. For each layer from the first, for each batch B a step of its optimiser with the gradient of
       :math:`\sum_{i \in B} \langle \alpha^k_i, f_k(X^{k-1})_i \rangle`; then :math:`X^k = f_k(X^{k-1})` for all nodes.
    3. For each batch of training nodes a step of the head's optimiser on their loss.

    A step computes one layer on the batch and its neighbours only. Within an epoch the gradients belong to the
    parameters at its start, so that they are biased after the first step: lower rates, or fewer batches, keep that
    small. With `refresh="step"` all is computed anew before every step, whose gradient then is that of the loss of the
    whole graph, as far as it comes from the rows of the batch. Embeddings fit the parameters at the end of each epoch,
    and are not needed to resume.

    Args:
        layers: K callables such as layers of PyTorch Geometric, called as `layer(x, edge_index)`, or
            `layer(x, edge_index, edge_weight)` if the data have weights, whose rows depend on a node and its
            neighbours alone; with none of them only the head is trained.
        head: the last one, which gives the logits.
        data: graph as `torch_geometric.data.Data`: `x` (N, C), `edge_index` (2, E), perhaps `edge_weight` (E,), `y`
            (N, ...), and `train_mask` (N,) unless all nodes are for training.
        optimizers: K + 1, one for each layer and one for the head; None for one without parameters.
        batch_size: number of nodes in a batch, at least 1; published 10,000.
        refresh: "epoch" or "step".
        reduction: "mean" or "sum" of the losses of the training nodes.
        head_reduction: the same for steps of the head; by default as `reduction`. The published inductive code has
            "mean" and "sum", which are two losses unless the optimiser is blind to scale.
        loss: function of logits (n, ...) and labels (n, ...) that returns the losses (n,); by default cross-entropy.
        layer_batches: batches of nodes for the layers instead of all nodes, drawn once. Nodes that are in none
            contribute nothing.
        head_batches: batches of training nodes for the head, instead of all of them, drawn once.
        seed: of the batches and their orders.

    Attributes:
        embeddings: K + 1 tensors :math:`X^0, \ldots, X^K`.
        gradients: K tensors :math:`\alpha^1, \ldots, \alpha^K`.
        layer_blocks: the batches of nodes with their neighbours.
        head_blocks: those of training nodes.

    Raises:
        InputError: an argument is out of range, there is no training node, optimisers are of another number than
            layers, a layer has dropout or batch normalisation in training mode, or its rows depend on more than the
            node and its neighbours; later, a kept gradient has another shape than the layer's output.

    Reference:
        "IGLU: Efficient GCN training via lazy updates", ICLR 2022.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        head: Layer,
        data: Any,
        optimizers: Sequence[Optimizer | None],
        batch_size: int = 10_000,
        *,
        refresh: str = "epoch",
        reduction: str = "mean",
        head_reduction: str | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        layer_batches: Sequence[Tensor] | None = None,
        head_batches: Sequence[Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        check_at_least("batch_size", batch_size, 1)
        check_choice("refresh", refresh, REFRESHES)
        check_choice("reduction", reduction, REDUCTIONS)
        if head_reduction is not None:
            check_choice("head_reduction", head_reduction, REDUCTIONS)
        if len(optimizers) != len(layers) + 1:
            raise InputError(
                f"optimizers must be {len(layers) + 1}, one for each layer and one for the head, not {len(optimizers)}"
            )
        self.data = data
        self.layers = [*layers, head]
        self.optimizers = list(optimizers)
        self.refresh_every = refresh
        self.reduction = reduction
        self.head_reduction = reduction if head_reduction is None else head_reduction
        self.loss = partial(F.cross_entropy, reduction="none") if loss is None else loss
        self.weights = data.edge_weight if "edge_weight" in data else None
        self.train = _training_nodes(data)
        for name, layer in zip(self._names, self.layers, strict=True):
            _check_rows_are_independent(name, layer)
        self._generator = torch.Generator().manual_seed(seed)
        lists, edges = Lists.of_edges(data.edge_index, data.x.shape[0])
        weights = None if self.weights is None else self.weights[edges]
        nodes = torch.arange(data.x.shape[0], device=data.x.device)
        self.layer_blocks, self.head_blocks = (
            [block(batch, lists, weights) for batch in (self._drawn(all_, batch_size) if given is None else given)]
            for given, all_ in ((layer_batches, nodes), (head_batches, self.train))
        )
        self.embeddings: list[Tensor] = [data.x.detach()]
        self.gradients: list[Tensor] = []
        self.refresh_embeddings()
        self._check_rows()

    def epoch(self, orders: Sequence[Tensor] | None = None) -> float:
        """Train every layer and then the head on all of their batches.

        Args:
            orders: K + 1 orders of the batches, (number of batches,) int64; by default drawn.

        Returns:
            The mean loss of training nodes before the step of the head that they were in.
        """
        if orders is None:
            orders = [torch.randperm(len(blocks), generator=self._generator) for blocks in self._blocks]
        if self.refresh_every == "epoch":
            self.refresh_gradients()
        total, count = 0.0, 0
        for k, (blocks, order) in enumerate(zip(self._blocks, orders, strict=True)):
            for i in order.tolist():
                found = self._step(k, blocks[i])
                if k == len(self.gradients):
                    total, count = total + found, count + blocks[i].batch.shape[0]
            if k < len(self.gradients):
                self.embeddings[k + 1] = self._whole(k)
        return total / count if self.head_reduction == "sum" else total * self.train.shape[0] / count

    def objective(self, k: int, of: Block) -> Tensor:
        r"""Return what a step of layer k, from 0, descends on a block: :math:`\langle \alpha_B, f(X)_B \rangle`.

        The head, k = K, has the loss of its block. Summed over all blocks, its gradient is that of the loss of the
        whole graph if embeddings and gradients are fresh.
        """
        rows = self._rows(k, of)
        if k == len(self.gradients):
            losses = self.loss(rows, self.data.y[of.batch]).sum()
            return losses / self.train.shape[0] if self.head_reduction == "mean" else losses
        kept = self.gradients[k][of.batch]
        self._check_shape(k, rows, kept)
        return (kept * rows).sum()

    def logits(self) -> Tensor:
        """Return the logits of all nodes from the kept embeddings."""
        return self._whole(len(self.layers) - 1)

    def refresh_embeddings(self) -> None:
        """Compute the embeddings of all nodes anew."""
        for k in range(len(self.layers) - 1):
            self.embeddings[k + 1 :] = [self._whole(k)]

    def refresh_gradients(self) -> None:
        """Compute the gradients of all embeddings anew, layer by layer, from those kept and the parameters of now."""
        found: list[Tensor] = []
        for k in range(len(self.layers) - 1, 0, -1):
            x = self.embeddings[k].clone().requires_grad_()
            out = self._call(k, x)
            if found:
                self._check_shape(k, out, found[0])
                goal = (found[0] * out).sum()
            else:
                goal = self.loss(out[self.train], self.data.y[self.train]).sum()
                goal = goal / self.train.shape[0] if self.reduction == "mean" else goal
            found.insert(0, torch.autograd.grad(goal, x)[0])
        self.gradients = found

    def _step(self, k: int, of: Block) -> float:
        if self.refresh_every == "step":
            self.refresh_embeddings()
            self.refresh_gradients()
        optimizer = self.optimizers[k]
        if optimizer is None:
            return self.objective(k, of).item()
        optimizer.zero_grad()
        goal = self.objective(k, of)
        goal.backward()
        optimizer.step()
        return goal.item()

    @property
    def _blocks(self) -> list[list[Block]]:
        return [self.layer_blocks] * (len(self.layers) - 1) + [self.head_blocks]

    @property
    def _names(self) -> list[str]:
        return [*(f"layers[{k}]" for k in range(len(self.layers) - 1)), "head"]

    def _drawn(self, nodes: Tensor, size: int) -> Sequence[Tensor]:
        order = torch.randperm(nodes.shape[0], generator=self._generator)
        return nodes[order.to(nodes.device)].split(size)

    def _call(self, k: int, x: Tensor) -> Tensor:
        weights = () if self.weights is None else (self.weights,)
        return self.layers[k](x, self.data.edge_index, *weights)

    def _whole(self, k: int) -> Tensor:
        with torch.no_grad():
            return self._call(k, self.embeddings[k])

    def _rows(self, k: int, of: Block) -> Tensor:
        weights = () if of.edge_weight is None else (of.edge_weight,)
        return self.layers[k](self.embeddings[k][of.nodes], of.edge_index, *weights)[: of.batch.shape[0]]

    def _check_shape(self, k: int, rows: Tensor, kept: Tensor) -> None:
        if rows.shape != kept.shape:
            raise InputError(
                f"{self._names[k]} returns rows of shape {tuple(rows.shape[1:])}, but those kept have"
                f" {tuple(kept.shape[1:])}; call refresh_embeddings after a layer was changed"
            )

    def _check_rows(self) -> None:
        for k, (name, blocks) in enumerate(zip(self._names, self._blocks, strict=True)):
            of = blocks[0]
            whole = self.logits() if name == "head" else self.embeddings[k + 1]
            with torch.no_grad():
                off = (self._rows(k, of) - whole[of.batch]).abs().max()
            if not off <= torch.finfo(whole.dtype).eps ** 0.5 * whole.abs().max():
                raise InputError(
                    f"{name} returns other rows for a batch with its neighbours than in the whole graph: it must not"
                    " normalise over nodes, nor by degrees that it counts itself (GCNConv: normalize=False)"
                )


def _training_nodes(data: Any) -> Tensor:
    mask = data.train_mask if "train_mask" in data else torch.ones(data.x.shape[0], dtype=torch.bool)
    train = mask.nonzero().flatten()
    if not train.numel():
        raise InputError("train_mask must have at least one training node")
    return train.to(data.x.device)


def _check_rows_are_independent(name: str, layer: Layer) -> None:
    for module in layer.modules() if isinstance(layer, nn.Module) else ():
        rate = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "dropout", 0.0)
        if module.training and isinstance(rate, int | float) and rate > 0:
            raise InputError(f"{name} has dropout={rate}, with which nothing can be kept; set it to 0, or call eval")
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(f"{name} has {type(module).__name__}, whose rows depend on the whole batch; call eval")
