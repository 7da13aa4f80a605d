"""Deep kernel machines, full and with inducing points (arXiv 2108.13097), and convolutional (arXiv 2309.09814)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convnn.learners.deep.gram import Gram, factor
from convnn.learners.deep.gram_layer import GramLayer
from convnn.learners.deep.inputs import FeatureGram, PatchGram
from convnn.learners.deep.kernels import LAYERS, KernelLayer, ReLUKernelLayer
from convnn.learners.deep.mixing import FlattenPool, GramConv2d, MeanPool, NystromPool
from convnn.learners.deep.norm import GramNorm, GramSkip
from convnn.learners.deep.output import (
    GaussianOutput,
    categorical_likelihood,
    condition,
    gaussian_likelihood,
    linear_optimum,
)
from convnn.learners.kernels import ArcCosine, Gaussian, Linear
from golden.case import Case
from golden.entry import Entry

KERNELS = {"squared_exponential": Gaussian(), "relu": ArcCosine(1), "linear": Linear()}
NAMES = {
    "latent_Gscale": "log_scale",
    "V": "root",
    "mu": "mean",
    "L": "root",
    "log_weight_var": "log_weight_variance",
    "log_bias_var": "log_bias_variance",
    "latent_learned_weights": "mixture",
    "i_scale.i_logscale": "inducing_scale",
    "t_scale.t_logscale": "point_scale",
    "kernels": "branches",
    "weights.lw": None,
}


def through(grams: list[Tensor], dof: list[float], kernel: KernelLayer, gram: Gram) -> tuple[Gram, list[Tensor]]:
    """Return a triple after layers with given matrices, and what each of them costs."""
    costs = []
    for matrix, nu in zip(grams, dof, strict=True):
        layer = GramLayer(matrix.shape[0], nu).double()
        root = math.sqrt(matrix.shape[0]) * factor(matrix, "a matrix of the file")
        after = torch.func.functional_call(layer, {"root": root}, (kernel(gram),))
        costs.append((after.cost - gram.cost) / nu)
        gram = after
    return gram, costs


def _full(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    kernel = KernelLayer(KERNELS[case.config["kernel"]], mult_eps=0, abs_eps=0)
    noise = torch.tensor(case.config["noise_variance"], dtype=torch.double, requires_grad=True)

    def run(X: Tensor, Y: Tensor, X_test: Tensor, *grams: Tensor | None) -> Mapping[str, Tensor]:
        given = [gram for gram in grams if gram is not None]
        width = X.shape[1]
        start = Gram(X @ X.T / width, X_test @ X.T / width, X_test.square().mean(1), X.new_zeros(()))
        gram, costs = through(given, case.config["nu"], kernel, start)
        found = condition(kernel(gram), Y, noise)
        objective = found.likelihood - gram.cost
        (slope,) = torch.autograd.grad(objective, noise, retain_graph=True)
        return {
            "objective": objective,
            "log_likelihood": found.likelihood,
            "kl": torch.stack(costs) if costs else X.new_zeros(0),
            "grad_noise_variance": slope,
            "gram_test": gram.t,
            "gram_test_train": gram.ti,
            "predictive_mean": found.mean,
            "predictive_variance": found.variance,
        }

    return run


def _linear(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    def run(first: Tensor, Y: Tensor) -> Mapping[str, Tensor]:
        target = Y @ Y.T / Y.shape[1]
        grams = linear_optimum(first, target, case.config["layers"])
        empty = first.new_zeros(0, first.shape[0])
        start = Gram(first, empty, empty[:, 0], first.new_zeros(()))
        kernel = KernelLayer(Linear(), mult_eps=0, abs_eps=0)
        gram, costs = through(grams, case.config["nu"], kernel, start)
        likelihood = condition(kernel(gram), Y, case.config["noise_variance"]).likelihood
        named = {f"gram.{i + 1}": matrix for i, matrix in enumerate(grams)}
        found = {"objective": likelihood - gram.cost, "log_likelihood": likelihood, "kl": torch.stack(costs)}
        return found | named | {"target": target}

    return run


class Network(nn.Sequential):
    """Published modules by their numbers, which keeps the triple after each."""

    def __init__(self, case: Case, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.likelihood = case.config.get("likelihood", "categorical")
        self.noise_variance = case.config.get("noise_variance", 0.0)
        self.count = case.config["num_datapoints"]

    def run(self, x: Tensor, eps: Tensor | None, target: Tensor | None) -> Mapping[str, Any]:
        found: dict[str, Tensor] = {}
        for number, module in enumerate(self):
            x = module(x)
            if isinstance(x, Gram):
                found |= {f"stage.{number}.{name}": getattr(x, name) for name in ("ii", "ti", "t")}
        if isinstance(x, Gram):
            return {name: getattr(x, name) for name in ("ii", "ti", "t")} | found
        samples = x.samples(eps)
        if self.likelihood == "categorical":
            fit = categorical_likelihood(samples, target)
            more = {"probabilities": x.probabilities(eps)}
        else:
            fit = gaussian_likelihood(samples, target, self.noise_variance)
            more = {"predictive_mean": samples.mean(0), "predictive_variance": samples.var(0) + self.noise_variance}
        regulariser = -x.cost / self.count
        first = {"objective": fit + regulariser, "expected_log_likelihood": fit, "regulariser": regulariser}
        return first | more | found | {"samples": samples}


def _sparse(case: Case) -> Network:
    config = case.config
    points, outputs = case.tensors["param.0.X"], case.tensors[f"param.{len(config['stages']) - 1}.mu"].shape[1]
    eps = {"mult_eps": config["mult_eps"], "abs_eps": config["abs_eps"]}
    build = {
        "Input": nn.Identity,
        "F2G": lambda: FeatureGram(points),
        "SqExpKernel": lambda: LAYERS["squared_exponential"](**eps),
        "ReluKernel": lambda: LAYERS["relu"](**eps),
        "LinearKernel": lambda: LAYERS["linear"](**eps),
        "GramLayer": lambda: GramLayer(points.shape[0], config["dof"]),
        "Output": lambda: GaussianOutput(points.shape[0], outputs),
    }
    return Network(case, *(build[stage]() for stage in config["stages"]))


class Stages:
    """Builds the stages of a file, which name no numbers of inducing points but those of mixtures."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def shape(self, path: str) -> tuple[int, ...]:
        return tuple(self.case.tensors[f"param.{path}"].shape)

    def sequence(self, stages: list[dict], prefix: str) -> list[nn.Module]:
        return [self.one(stage, f"{prefix}{number}") for number, stage in enumerate(stages)]

    def one(self, stage: dict, path: str) -> nn.Module:
        return getattr(self, f"_{stage['op']}")(stage, path)

    def _input(self, stage: dict, path: str) -> nn.Module:
        return nn.Identity()

    def _conv_gram(self, stage: dict, path: str) -> nn.Module:
        name = next(name for name in ("param.0.X", "buffer.0.X") if name in self.case.tensors)
        patches = self.case.tensors[name].permute(0, 3, 1, 2)
        return PatchGram(patches, learned=self.case.config["stages"][0].get("learned", True))

    def _relu(self, stage: dict, path: str) -> nn.Module:
        return ReLUKernelLayer(mult_eps=stage["mult_eps"], abs_eps=stage["abs_eps"])

    def _squared_exponential(self, stage: dict, path: str) -> nn.Module:
        return KernelLayer(Gaussian(), mult_eps=stage["mult_eps"], abs_eps=stage["abs_eps"])

    def _conv(self, stage: dict, path: str) -> nn.Module:
        return GramConv2d(*stage["inducing"], stage["filter"], stage["stride"])

    def _gram(self, stage: dict, path: str) -> nn.Module:
        return GramLayer(self.shape(f"{path}.V")[0], stage["dof"])

    def _norm(self, stage: dict, path: str) -> nn.Module:
        words = (stage["inducing"], stage["train"], stage["inducing_scale"], stage["train_scale"])
        count = self.shape(f"{path}.i_scale.i_logscale")[0] if words[2] == "local" else None
        size = self.shape(f"{path}.t_scale.t_logscale")[1:3] if words[3] == "location" else None
        return GramNorm(*words, count=count, size=size)

    def _sum(self, stage: dict, path: str) -> nn.Module:
        branches = [
            nn.Sequential(*self.sequence(branch, f"{path}.kernels.{number}."))
            for number, branch in enumerate(stage["branches"])
        ]
        return GramSkip(branches, torch.tensor(stage["weights"]).double().softmax(0).tolist())

    def _gap(self, stage: dict, path: str) -> nn.Module:
        return NystromPool(self._incoming(path))

    def _gap_mixup(self, stage: dict, path: str) -> nn.Module:
        return NystromPool(*self.shape(f"{path}.latent_learned_weights")[1::-1])

    def _mean(self, stage: dict, path: str) -> nn.Module:
        return MeanPool()

    def _flatten_mixup(self, stage: dict, path: str) -> nn.Module:
        out, width = self.shape(f"{path}.latent_learned_weights")[0], self._incoming(path)
        positions = self.case.tensors[f"param.{path}.latent_learned_weights"].numel() // (out * width)
        return FlattenPool(width, out, positions)

    def _output(self, stage: dict, path: str) -> nn.Module:
        return GaussianOutput(*self.shape(f"{path}.mu"))

    def _incoming(self, path: str) -> int:
        """Return how many inducing points come in at a stage of the network."""
        return self.case.tensors[f"stage.{int(path) - 1}.ii"].shape[0]


def _images(case: Case) -> Network:
    return Network(case, *Stages(case).sequence(case.config["stages"], ""))


def _image_names(case: Case) -> Mapping[str, str | None]:
    return NAMES | {"0.X": "1.patches" if "param.0.X" in case.tensors else None}  # a fixed one is there already


def _channels_first(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    return {name: value.permute(0, 3, 1, 2) if name == "1.patches" else value for name, value in named.items()}


_MODULES = Entry(
    _sparse,
    ("input", "eps", "target"),
    ("objective",),
    NAMES | {"0.X": "1.points"},
    call=Network.run,
    aside=("buffer.6.weights.lw",),
)
_LAYERS = [f"gram.{number}" for number in range(1, 10)]

ENTRIES = {
    "dkm_objective": Entry(
        _full, ("X", "Y", "X_test", *_LAYERS), ("objective",), gradients={name: f"grad.{name}" for name in _LAYERS}
    ),
    "linear_dkm_optimum": Entry(_linear, ("gram_0", "Y"), ("objective",)),
    "sparse_dkm": _MODULES,
    "conv_dkm": replace(_MODULES, build=_images, names=_image_names, arrange=_channels_first),
}
