"""Tangent kernels: of layers, of the summed logits, traced and projected, and surrogates on them."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from convnn.tangent import (
    TangentSurrogate,
    kronecker_error,
    layered_kernels,
    spectrum,
    tangent_features,
    tangent_jacobian,
    tangent_kernel,
    tangent_regression,
)
from golden.case import Case
from golden.entry import Entry

ACTS: Mapping[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class Layered(nn.Module):
    """Linear maps with activations, divided by the roots of numbers."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config, biases = case.config, case.named("param")
        dims = config["dims"]
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=f"layers.{place}.bias" in biases) for place, (a, b) in enumerate(pairwise(dims))
        )
        self.act = ACTS[config.get("act", "tanh")]
        self.divisors = (config["d"] if "d" in config else [1.0] * len(self.layers))[: len(self.layers) - 1]
        self.scaling = "ntk" in f"{config.get('scaling', '')}".lower() or bool(config.get("ntk_scaling"))

    def forward(self, x: Tensor) -> Tensor:
        for layer, divisor in zip(self.layers[:-1], self.divisors, strict=True):
            x = self.act(layer(self._scaled(x))) / math.sqrt(divisor)
        return self.layers[-1](self._scaled(x))

    def _scaled(self, x: Tensor) -> Tensor:
        return x / math.sqrt(x.shape[1]) if self.scaling else x


class Convolutions(nn.Module):
    """Two convolutions, the first with batch normalisation, and a linear map of the means."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.fc = nn.Linear(4, case.named("param")["fc.weight"].shape[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.bn(self.conv1(x)).relu()).relu().mean((2, 3)))


def _network(case: Case) -> nn.Module:
    config = case.config
    model = (Layered if "dims" in config else Convolutions)(case).double()
    model.load_state_dict(case.named("param") | case.named("buffer"))
    return model.eval()


def _layers(case: Case) -> Callable[[Tensor], Mapping[str, Tensor]]:
    model = _network(case)
    counted = case.named("component")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in counted)

    def run(x: Tensor) -> Mapping[str, Tensor]:
        jacobian = {name: one.flatten(0, 1) for name, one in tangent_jacobian(model, x).items()}
        found = {f"component.{name}": one for name, one in tangent_kernel(model, x, kind="layers").items()}
        found["ntk"] = tangent_kernel(model, x, kind="trace")
        found["ntk_full_nmkl"] = tangent_kernel(model, x)
        found |= {f"jacobian.{name}": one for name, one in jacobian.items()}
        found |= {f"fisher.{name}": one.T @ one for name, one in jacobian.items()}
        if isinstance(model, Layered):
            parts = layered_kernels(list(model.layers), x, model.act, model.divisors)
            weights = [parts[name] for name in reversed(parts) if name.endswith("weight")]
            found |= {f"explicit.{place}": one for place, one in enumerate(weights)}
        model.requires_grad_()
        whole = torch.cat([one.flatten(0, 1) for one in tangent_jacobian(model, x).values()], 1)
        return found | {"naive_params_mode": whole.T @ whole, "ntk_naive_all_parameters": whole @ whole.T}

    return run


def _summed(case: Case) -> Callable[[Tensor, Tensor | None, Tensor | None], Mapping[str, Tensor]]:
    model = _network(case)

    def run(x: Tensor, x2: Tensor | None, targets: Tensor | None) -> Mapping[str, Tensor]:
        kernel, full = tangent_kernel(model, x, kind="sum_of_logits"), tangent_kernel(model, x)
        gradients = tangent_jacobian(_Summed(model), x)
        found = {
            "pntk": kernel,
            "entk_nmkl": full,
            "sum_logit_grads": torch.cat(list(gradients.values()), 2)[:, 0],
            "rel_frobenius": torch.tensor([kronecker_error(kernel, full)], dtype=x.dtype),
            "lambda_max_pntk": spectrum(kernel)[:1],
            "lambda_max_entk": spectrum(full)[:1],
        }
        if x2 is None:
            return found
        across = tangent_kernel(model, x2, x, kind="sum_of_logits")
        found["pntk_x2_x"] = across
        if targets is None:
            return found
        found |= {"f0_x": model(x).detach(), "f0_x2": model(x2).detach()}
        outputs = (targets, found["f0_x"], found["f0_x2"], case.config["ridge"])
        found["pred_pntk"] = tangent_regression(kernel, across, *outputs)
        found["pred_entk"] = tangent_regression(full, tangent_kernel(model, x2, x), *outputs)
        return found

    return run


def _kernels(model: nn.Module, x: Tensor, x2: Tensor, name: str, factor: float, **settings: Any) -> dict[str, Tensor]:
    return {
        f"{name}_raw": factor * tangent_kernel(model, x, **settings),
        name: tangent_kernel(model, x, normalize=True, **settings),
        f"{name}_x2_x": tangent_kernel(model, x2, x, normalize=True, **settings),
    }


class _Summed(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).sum(1)


def _surrogate(case: Case) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Mapping[str, Tensor]]:
    model = _network(case)

    def run(x: Tensor, x2: Tensor, y: Tensor, matrix: Tensor | None) -> Mapping[str, Tensor]:
        found = {"logits_x2": model(x2).detach()}
        factors = {"trntk": 1, "pntk": found["logits_x2"].shape[1]}  # theirs is not divided by the outputs
        for name, of in (("trntk", "trace"), ("pntk", "sum_of_logits")):
            found |= _kernels(model, x, x2, name, factors[name], kind=of)
            if matrix is not None:  # and not divided by its columns, but by the parameters
                share = matrix.shape[1] / matrix.shape[0]
                settings = {"kind": "projected", "of": of, "projection": matrix}
                found |= _kernels(model, x, x2, f"proj_{name}", factors[name] * share, **settings)
                features = tangent_features(model, torch.cat([x, x2]), matrix, of=of)[:, 0]
                theirs = "features_class0" if of == "trace" else "features_sum"
                found[theirs] = math.sqrt(share * factors[name]) * features
        ours = TangentSurrogate(model, alpha=1e-2, max_iter=200, random_state=0).fit(x, y)
        found |= {
            "glm_coef": torch.from_numpy(ours.coef_),
            "glm_intercept": torch.from_numpy(ours.intercept_),
            "glm_proba": torch.from_numpy(ours.predict_proba(x2)),
            "attribution_0": torch.from_numpy(ours.attribute(x2)[0]),
        }
        return found

    return run


ENTRIES = {
    "ntk": Entry(_layers, inputs=("x",)),
    "pntk": Entry(_summed, inputs=("x", "x2", "Y")),
    "trntk": Entry(_surrogate, inputs=("x", "x2", "y", "projection")),
}
