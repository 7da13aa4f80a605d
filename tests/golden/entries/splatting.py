"""GVKF (arXiv 2411.01853): Gaussians of voxels, their rendering along rays, and the field of opacity."""

from collections.abc import Callable
from math import tan

import torch
from torch import Tensor

from convnn.models.splats.anchors import AnchorGaussians, NeuralGaussians
from convnn.models.splats.losses import depth_normals, splat_loss
from convnn.ops.gaussians import Gaussians
from convnn.ops.opacity_field import NEVER_SEEN, UNSEEN, opacity_field, seen_opacities, signed_opacity
from convnn.ops.projection import Rig, pinhole
from convnn.ops.splatting import FAR, NEAR, Splats, splat
from golden.case import Case
from golden.entry import Entry, refuse

NAMES = {
    "anchor": "anchors",
    "feat": "features",
    "offset": "offsets",
    "scaling": "log_scales",
    "cov": "shape",
    "feature_bank": "bank",
    "featurebank": "bank",
    "feat_bank": "bank",
}
GAUSSIANS = ("means", "scales", "rots", "opac")


def _anchors(case: Case) -> AnchorGaussians:
    config = case.config
    return AnchorGaussians(
        case.tensors["param.anchor"],
        channels=config["feat_dim"],
        slots=config["n_offsets"],
        bank=config["use_feat_bank"],
        distance=config["add_dist"],
    )


def _shown(ours: AnchorGaussians, centre: Tensor) -> dict[str, Tensor]:
    found: NeuralGaussians = ours(centre)
    means, scales, rotations, opacities = found.gaussians
    return {
        "output.xyz": means,
        "output.color": found.colors,
        "output.opacity": opacities.unsqueeze(-1),
        "output.scaling": scales,
        "output.rotation": rotations,
        "neural_opacity": found.strengths.unsqueeze(-1),
        "mask": found.shown.long(),
    }


def _rig(case: Case) -> Rig:
    size = case.config["height"], case.config["width"]
    return pinhole(case.tensors["world_to_camera"], case.tensors["focal"], size)


def _render(case: Case) -> Callable[..., Tensor]:
    if (case.config["near"], case.config.get("far", FAR)) != (NEAR, FAR):
        refuse(case, near="other planes than those of the published code")
    case.config["channels"]  # the order of what is joined below

    def run(means: Tensor, scales: Tensor, rots: Tensor, opac: Tensor, colors: Tensor, bg: Tensor) -> Tensor:
        seen = splat(Gaussians(means, scales, rots, opac), colors, _rig(case), bg)
        flat = (seen.depths, seen.opacities, seen.distortion)
        return torch.cat([seen.colors[0], seen.normals[0], *flat])

    return run


def _field(case: Case) -> Callable[..., dict[str, Tensor]]:
    if (case.config["near"], case.config["unseen"]) != (NEAR, NEVER_SEEN):
        refuse(case, near="another plane or value of the unseen than those of the published code")

    def run(means: Tensor, scales: Tensor, rots: Tensor, opac: Tensor, query: Tensor) -> dict[str, Tensor]:
        gaussians, rig, shift = Gaussians(means, scales, rots, opac), _rig(case), case.config["shift"]
        opacities, seen = seen_opacities(gaussians, rig, query)
        return {
            "output": opacity_field(gaussians, rig, query, shift=shift),
            "seen": seen.long(),
            "alpha": torch.where(seen, opacities, -1),
            "sdf_per_view": torch.where(seen, signed_opacity(opacities, shift), UNSEEN),
        }

    return run


def _loss(case: Case) -> Callable[..., dict[str, Tensor]]:
    config = case.config
    sides = config["width"], config["height"]
    focal = [side / 2 / tan(angle / 2) for side, angle in zip(sides, config["fov"], strict=True)]
    pose = case.tensors["world_to_camera"].unsqueeze(0)
    rig = pinhole(pose, pose.new_tensor([focal]), sides[::-1])
    weights = {"dissimilarity": "dssim", "volume": "scale", "distortion": "distortion", "normals": "depth_normal"}
    settings = {ours: config[f"lambda_{theirs}"] for ours, theirs in weights.items()}

    def run(image, depth, normal, distortion, scales, target) -> dict[str, Tensor]:
        seen = Splats(image[None], normal[None], depth, torch.ones_like(depth), distortion[None])
        loss = splat_loss(seen, target[None], scales, rig, **settings)
        return {
            "loss": loss.total,
            "l1": loss.distance,
            "ssim": loss.similarity,
            "normal_loss": loss.normals,
            "distortion_loss": loss.distortion,
            "depth_normal": depth_normals(depth, rig)[0],
        }

    return run


RENDERED = ("image", "depth", "normal", "distortion", "scales")
GRADIENTS = {name: f"grad.{name}" for name in (*GAUSSIANS, "colors", *RENDERED)}
ENTRIES = {
    "NeuralGaussians": Entry(_anchors, inputs=("camera_center",), outputs=("output.xyz",), names=NAMES, call=_shown),
    "64-gvkf/loss": Entry(_loss, inputs=(*RENDERED, "target"), outputs=("loss",), gradients=GRADIENTS),
    "64-gvkf/render": Entry(_render, inputs=(*GAUSSIANS, "colors", "bg"), gradients=GRADIENTS),
    "64-gvkf/opacity_field": Entry(_field, inputs=(*GAUSSIANS, "query"), aside=("colors", "bg")),
}
