"""GKT (arXiv 2206.04584): cells seen from above attend to windows of camera maps."""

from typing import Any

import torch
from torch import Tensor

from convnn.nn.windows.projected import ProjectedAttention2d
from convnn.ops.projection import Rig, ground_points, project
from golden.case import Case
from golden.entry import Entry, refuse

OURS = {
    "bev_embed": "ground",
    "img_embed": "ray",
    "cam_embed": "centre",
    "feature_linear": "value",
    "feature_proj": "key",
    "cross_attn.to_q": "attention.query",
    "cross_attn.to_k": "attention.key",
    "cross_attn.to_v": "attention.value",
    "cross_attn.proj": "attention.output",
    "cross_attn.prenorm": "norm",
    "cross_attn.mlp": "mlp",
    "cross_attn.postnorm": "last_norm",
}


def _points(case: Case) -> Tensor:
    metres = case.config["bev_meters"]
    return ground_points(case.config["bev"], metres, height=case.config["bev_z"], dtype=torch.float64)


class _Posed(ProjectedAttention2d):
    """The layer with the calibration as two of its inputs."""

    def __init__(self, case: Case) -> None:
        config = case.config
        if config["sampling"] != "index":
            refuse(case, sampling="windows by grid_sample, which are not the published default")
        super().__init__(
            config["dim"],
            case.tensors["feature"].shape[2],
            kernel_size=config["kernel"],
            image_features=not config["no_image_features"],
            **case.pick("heads", "dim_head", "skip", "kernel_conv"),
        )
        self.image, self.points = tuple(config["image"]), _points(case)

    def forward(self, x: Tensor, feature: Tensor, intrinsics: Tensor, extrinsics: Tensor) -> Tensor:
        return super().forward(x, feature, Rig(intrinsics, extrinsics, self.image), self.points)


def _linear(named: dict[str, Tensor], _: Any) -> dict[str, Tensor]:
    """Published projections are 1x1 convolutions."""
    flat = ("ground.weight", "centre.weight")
    return {name: value.flatten(1) if name in flat else value for name, value in named.items()}


def _projections(ours: _Posed, case: Case) -> dict[str, Tensor]:
    if list(case.tensors["feature"].shape[-2:]) != case.config["feature"]:
        raise ValueError(f"feature={case.config['feature']} is not the size of its tensor")
    places, visible = project(ours.points, Rig(case.tensors["intrinsics"], case.tensors["extrinsics"], ours.image))
    grid = torch.cat([ours.points[:2], torch.ones_like(ours.points[:1])])  # the published third row is one of ones
    return {"points": places, "mask": visible.long(), "bev_grid": grid}


ENTRIES = {
    "GeometryKernelAttention": Entry(
        _Posed,
        inputs=("x", "feature", "intrinsics", "extrinsics"),
        names=OURS,
        arrange=_linear,
        also=_projections,
    )
}
