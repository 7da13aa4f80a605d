"""The trial of a network: its convolutions replaced by a layer, a training step, and a comparison of outputs."""

import time
from dataclasses import dataclass

import torch
from torch import nn

import convnn
from convnn.errors import InputError
from survival.networks import build, side_of

LAYERS = ("ConvNN", "Branching", "ConvNN_Attn")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        network, layer: names of the network and the layer.
        replaced, left: numbers of replaced and remaining layers.
        problem: why the trial failed; empty if it passed.
        difference: largest relative difference of the logits from those of the original network, with the layers'
            neighbours in the old windows; None if the layer has no such form.
        seconds: duration of the trial.
    """

    network: str
    layer: str
    replaced: int = 0
    left: int = 0
    problem: str = ""
    difference: float | None = None
    seconds: float = 0.0


def survive(network: str, layer: str, *, compare: bool = True) -> Outcome:
    """Replace layers, make a training step, and compare outputs with neighbours in the old windows."""
    start = time.perf_counter()
    try:
        report, problem = replace_and_step(network, layer)
    except (InputError, RuntimeError) as error:
        return Outcome(network, layer, problem=str(error).splitlines()[0])
    difference = difference_at_windows(network, layer) if compare and layer != "ConvNN_Attn" else None
    seconds = time.perf_counter() - start
    return Outcome(network, layer, len(report.replaced), len(report.left), problem, difference, seconds)


def replace_and_step(network: str, layer: str) -> tuple[convnn.nn.ReplacementReport, str]:
    torch.manual_seed(0)
    model = build(network)
    report = convnn.replace_layers(model, layer)
    return report, step(model, side_of(network))


def step(model: nn.Module, side: int) -> str:
    """Make a step of SGD and return what went wrong, or an empty string."""
    images, labels = torch.randn(2, 3, side, side), torch.tensor([3, 7])
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(model.train()(images), labels)
    loss.backward()
    if not loss.isfinite():
        return f"the loss is {loss.item()}"
    ours = [m for m in model.modules() if isinstance(m, convnn.nn.MapLayer)]
    missing = [m for m in ours if any(p.grad is None for p in m.parameters())]
    if missing:
        return f"{len(missing)} of {len(ours)} layers got no gradient"
    optimizer.step()
    moved = any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    return "" if moved else "no weight moved"


def difference_at_windows(network: str, layer: str) -> float:
    """Compare in float64 and training mode, because untrained batch norms make signals vanish in evaluation."""
    torch.manual_seed(0)
    model, side = build(network).double().train(), side_of(network)
    images = torch.randn(2, 3, side, side, dtype=torch.double)
    logits = []
    for is_replaced in (False, True):
        if is_replaced:
            convnn.replace_layers(model, layer, keep_weights=True, similarity_type="Window")
        torch.manual_seed(1)  # for dropout and stochastic depth
        with torch.no_grad():
            logits.append(model(images))
    return ((logits[1] - logits[0]).abs().max() / logits[0].abs().max()).item()
