"""y = x W^T + b."""

import torch

from convnn.bench import Task


def inputs(generator, setting):
    rows, width, outputs = setting["rows"], setting["width"], setting["outputs"]
    scale = setting.get("scale", 1.0)
    return (
        torch.randn(rows, width, generator=generator, dtype=torch.float64),
        scale * torch.randn(outputs, width, generator=generator, dtype=torch.float64),
        torch.randn(outputs, generator=generator, dtype=torch.float64),
    )


TASK = Task(
    "linear",
    lambda x, weight, bias: x @ weight.mT + bias,
    inputs,
    [
        {"rows": 3, "width": 5, "outputs": 4},
        {"rows": 4, "width": 4, "outputs": 4},
        {"rows": 2, "width": 5, "outputs": 6, "scale": 1e-7},
        {"rows": 64, "width": 64, "outputs": 64},
    ],
    parameters=(1, 2),
)
