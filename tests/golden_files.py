"""Golden numbers of the published code: a compact copy here, all of them where `../shared/golden` is at hand."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

HERE = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """One case: the published layer's name, its constructor arguments, and tensors by name."""

    layer: str
    config: dict[str, object]
    tensors: dict[str, Tensor]

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix.`, without it."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


def check_golden(
    layer: nn.Module, golden: Golden, values: dict[str, Tensor], gradients: dict[str, Tensor], tolerance: float = 1e-9
) -> None:
    """The layer with these parameters, under our names, has the golden output and all golden gradients."""
    parameters = dict(layer.double().named_parameters())
    assert set(parameters) == set(values) == set(gradients)
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value.reshape(parameters[name].shape))
    x = golden.tensors["input"].requires_grad_()
    out = layer(x)
    out.backward(golden.tensors["grad_output"])
    found = {name: p.grad.reshape(gradients[name].shape) for name, p in parameters.items()}
    torch.testing.assert_close(out, golden.tensors["output"], rtol=0, atol=tolerance)
    torch.testing.assert_close(x.grad, golden.tensors["grad_input"], rtol=0, atol=tolerance)
    torch.testing.assert_close(found, gradients, rtol=0, atol=tolerance)


def use_sample(monkeypatch: pytest.MonkeyPatch, sample: Tensor) -> None:
    """Let the next random draw be the published one."""

    def permutation(length: int, **_: object) -> Tensor:
        rest = torch.tensor([i for i in range(length) if i not in set(sample.tolist())])
        return torch.cat([sample, rest])

    monkeypatch.setattr(torch, "randperm", permutation)


def read_golden(path: Path) -> Golden:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return Golden(metadata["layer"], json.loads(metadata["config"]), tensors)


def golden_paths(*patterns: str) -> list[Path]:
    """Every golden file that fits a pattern: those of the full set if it is there, else those of the copy."""
    folder = SHARED if SHARED.is_dir() else HERE
    return sorted(path for pattern in patterns for path in folder.glob(f"{pattern}.safetensors"))
