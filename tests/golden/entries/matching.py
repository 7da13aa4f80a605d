"""Matching: convolution in the space of matches (arXiv 2103.16831), kernel regression of coordinates (arXiv
2202.00667), contrast of graphs with a momentum teacher (arXiv 2212.05085).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from convnn.nn.matches import (
    CentrePivotConv4d,
    CHM4d,
    CHM6d,
    HoughMatcher,
    KernelRegressionMatcher,
    WarpRefiner,
    transfer_keypoints,
)
from convnn.objectives import contrastive
from convnn.tasks.match import sampling
from golden.case import Case
from golden.entry import Entry

GROUPS = {4: [1, 3, 2, 0], 3: [0, 2, 1]}
"""Where our classes of scales, in order of appearance, are among the published ones, by their number."""


def _stack(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    """Put the published kernels of each class of scales into one tensor."""
    prefix = "over_scales." if any(name.startswith("over_scales.") for name in named) else ""
    kernels = [named.pop(f"{prefix}param.{i}") for i in range(sum(f"{prefix}param." in name for name in named))]
    order = GROUPS.get(len(kernels), range(len(kernels)))
    return named | {f"{prefix}weight": _rows(kernels, order)}


def _rows(kernels: list[Tensor], order: Sequence[int]) -> Tensor:
    return torch.stack([kernels[i].flatten() for i in order])


def _of_cells(case: Case) -> CHM4d:
    return CHM4d(case.config["kernel_size"], case.config["kernel"])


def _of_scales(case: Case) -> CHM6d:
    return CHM6d(case.config["kernel_size"], case.config["kernel"], scale_kernel=case.config["scale_kernel"])


def _pivot(case: Case) -> CentrePivotConv4d:
    weights = [case.tensors[f"param.conv{i}.weight"] for i in (1, 2)]
    out_channels, in_channels = weights[0].shape[:2]
    return CentrePivotConv4d(in_channels, out_channels, [weight.shape[-1] for weight in weights])


def _head(case: Case) -> HoughMatcher:
    return HoughMatcher(case.config["feat_dim"], case.config["kernel"], scales=case.config["scales"])


def _transferred(ours: HoughMatcher, case: Case) -> dict[str, Tensor]:
    config, tensors = case.config, case.tensors
    side = 2 * config["side"]
    settings = {"sigma": config["sigma"], "reach": config["threshold"]}
    points, half = tensors["keypoints"], config["img_size"] / 2
    is_padding = torch.arange(points.shape[2]) >= config["n_points"]
    matches, sizes = tensors["confidence_scale"] * tensors["output"], ((side, side), (side, side))
    found = transfer_keypoints(matches, (points - half) / half, sizes, **settings)
    return {"transferred": found.masked_fill(is_padding, -2)}


def _regression(case: Case) -> KernelRegressionMatcher:
    settings = case.pick("basis", "temperature", sigma="sigma_noise", learned="learn_temperature")
    window = case.config.get("covar_size", 0) if not case.config.get("no_cov", False) else 0
    return KernelRegressionMatcher(case.config["gp_dim"], window=window, **settings)


def _refiner(case: Case) -> WarpRefiner:
    config, tensors = case.config, case.tensors
    radius, embedding = config.get("local_corr_radius"), config.get("displacement_emb_dim") or 0
    settings = case.pick("kernel_size", depthwise="depthwise", blocks="hidden_blocks", hidden="hidden_dim")
    settings |= {"radius": radius, "around_target": bool(config.get("corr_in_other")), "embedding": embedding}
    return WarpRefiner(tensors["x"].shape[1], support=not config.get("no_support_fm", False), **settings)


NAMES_OF_REFINER = {f"hidden_blocks.{i}": f"blocks.{i + 1}" for i in range(8)}
NAMES_OF_REFINER |= {"block1": "blocks.0", "disp_emb": "embed", "out_conv": "output"}


def _both(ours: WarpRefiner, *inputs: Tensor) -> Tensor:
    return torch.cat(ours(*inputs), 1)


@contextmanager
def _drawn(case: Case) -> Iterator[None]:
    draws = iter([case.tensors["exponential_1"], case.tensors["exponential_2"]])
    with patch.object(sampling, "_exponential", lambda *_: next(draws)):
        yield


MODES = {"threshold": "threshold", "pow": "power", "naive": "equal", "": "certainty"}


def _sampling(case: Case) -> Callable[..., dict[str, Tensor]]:
    config = case.config
    words = config["sample_mode"].split("_")
    mode, balanced = next((word for word in words if word in MODES), ""), "balanced" in words
    settings = case.pick("num", "std", "threshold", "expansion")
    settings |= {"mode": MODES[mode], "balanced": balanced, "min_density": 10}

    def run(warp: Tensor, certainty: Tensor) -> dict[str, Tensor]:
        found = sampling.balanced_sample(warp, certainty, **settings)
        names = {"matches": "matches", "certainty": "match_certainty"}
        names |= {"first": "index_1", "first_weight": "weights_1", "second": "index_2", "second_weight": "weights_2"}
        return {theirs: value for ours, theirs in names.items() if (value := getattr(found, ours)) is not None}

    return run


STUDENTS = ("feature_1", "feature_2", "teacher_1", "teacher_2", "logit_scale", "teacher_logit_scale")


def _contrast(case: Case) -> Callable[..., dict[str, Tensor]]:
    alpha, kind = case.config["alpha"], case.config["loss"]

    def losses(x: Tensor, y: Tensor, x_: Tensor, y_: Tensor, scale: Tensor, scale_: Tensor) -> dict[str, Tensor]:
        parts = {"info": contrastive.common_nce_loss(x, y, x_, y_, scale, scale_, alpha)}
        parts["quad"] = contrastive.quadratic_contrast_loss(x, y, x_, y_)
        total = parts.get(kind, sum(parts.values()))
        return {"loss": total, "loss_infonce": parts["info"], "loss_quadratic": parts["quad"]}

    return losses


CONTRAST = Entry(_contrast, inputs=STUDENTS, outputs=("loss",))
NAMES_OF_HEAD = {"conv2ds": "project", "chm6d": "over_scales", "chm4d": "over_cells"}
PIVOT = Entry(_pivot, names={"conv1": "source", "conv2": "target"})

ENTRIES = {
    "CHM4d": Entry(_of_cells, also=lambda ours, _: {"aux.kernel": ours.kernel}),
    "CHM6d": Entry(_of_scales, arrange=_stack),
    "CHMLearner + transfer_kps": Entry(
        _head, inputs=("source", "target"), names=NAMES_OF_HEAD, arrange=_stack, also=_transferred
    ),
    "Distill_InfoNCE": CONTRAST,
    "Distill_QuadraticContrast": CONTRAST,
    "sum of both": CONTRAST,
    "GP (CosKernel)": Entry(
        _regression, inputs=("x", "y"), names={"pos_conv": "position", "K.T": "temperature", "T": "temperature"}
    ),
    "ConvRefiner": Entry(_refiner, inputs=("x", "y", "flow"), names=NAMES_OF_REFINER, call=_both),
    "RegressionMatcher.sample": Entry(_sampling, inputs=("warp", "certainty"), draws=_drawn),
    "CenterPivotConv4d": PIVOT,
    "CentrePivotConv4d": PIVOT,
}
