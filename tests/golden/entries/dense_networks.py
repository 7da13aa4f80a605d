"""Networks from images to maps: MK-UNet (arXiv 2509.18493), BEVANet (arXiv 2508.07300), SKFlow
(arXiv 2205.14623)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

from torch import Tensor

from convnn.models._dense import DenseNetwork
from convnn.models.flow import SKFlow
from convnn.models.segmentation import BEVANet, MKUNet
from golden.case import Case
from golden.entry import Entry, Refused


def _mkunet(case: Case) -> MKUNet:
    block = {"kernel_sizes": [1, 3, 5], "expansion_factor": 2, "gag_kernel": 3}
    if any(case.config[name] != value for name, value in block.items()):
        raise Refused(f"other blocks than {block}")
    return MKUNet(widths=case.config["channels"], **case.pick("depths", "in_channels", "num_classes"))


def _bevanet(case: Case) -> BEVANet:
    config = case.config
    if config["lka"] != "SDLSKA" or config["ppm"] != "DLKPPM" or config["fb"] != "BGAF":
        raise Refused("other parts than SDLSKA, DLKPPM and BGAF")
    if config["semantic_kernel_size"][0] or config["detail_kernel_size"][0] or len(set(config["mlp_expand"])) > 1:
        raise Refused("large kernels in the third stage, and MLPs of several ratios")
    first, second, third, _, last = config["n_blocks"]
    return BEVANet(
        (first, second, third, last),
        config["planes"],
        context_planes=config["ppm_planes"],
        head_planes=config["head_planes"],
        num_classes=config["num_classes"],
        semantic_kernels=tuple(config["semantic_kernel_size"][1:]),
        detail_kernel=config["detail_kernel_size"][1],
        mlp_ratio=config["mlp_expand"][0],
    )


def _fewer_hidden(case: Case) -> AbstractContextManager:
    """Let the selection of kernels have as few channels as in the file, which has few for its size."""
    return patch("convnn.nn.windows.strips.LEAST_HIDDEN", case.config["cks_hidden_min"])


def _all_heads(ours: BEVANet, x: Tensor) -> tuple[Tensor, ...]:
    return ours.maps(x)


def _skflow(case: Case) -> SKFlow:
    config = case.config
    if config["heads"] != 1 or config["motion"]["out"] != config["hidden"] - 2:
        raise Refused("several heads, and motion of other channels than the state")
    if config["iters"] != 2:
        raise Refused("other than two iterations, which `_flows` computes")
    return SKFlow(
        hidden=config["hidden"],
        context=config["context"],
        features=config["fnet_out"],
        widths=config["encoder_widths"],
        levels=config["corr_levels"],
        radius=config["corr_radius"],
        k_conv=config["k_conv"],
        update_k_conv=config["PCUpdater_conv"],
        correlation_widths=config["motion"]["corr"],
        flow_widths=config["motion"]["flow"],
        mask_width=config["mask_hidden"],
        max_side=config["max_pos_size"],
    )


def _flows(ours: SKFlow, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    low, full = ours.estimate(first, second, iterations=2)
    return {"output": full, "output.low": low}


def _names(network: type[DenseNetwork]) -> Callable[[Case], dict[str, str]]:
    return lambda case: {name: network.our_name(name) for kind in ("param", "buffer") for name in case.named(kind)}


ENTRIES = {
    "MK-UNet network": Entry(_mkunet, names=_names(MKUNet)),
    "BEVANet segmentation network": Entry(
        _bevanet,
        outputs=("output", "output.ds", "output.db"),
        names=_names(BEVANet),
        call=_all_heads,
        draws=_fewer_hidden,
    ),
    "SKFlow network": Entry(
        _skflow,
        inputs=("input.image1", "input.image2"),
        names=_names(SKFlow),
        call=_flows,
        aside=("buffer.att.pos_emb.rel_ind",),
    ),
}
