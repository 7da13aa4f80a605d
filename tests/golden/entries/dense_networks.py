"""Networks from images to maps: MK-UNet (arXiv 2509.18493), BEVANet (arXiv 2508.07300)."""

from contextlib import AbstractContextManager
from unittest.mock import patch

from torch import Tensor

from convnn.models.segmentation import BEVANet, MKUNet
from convnn.models.segmentation.bevanet import PUBLISHED_NAMES as OF_BEVANET
from convnn.models.segmentation.mkunet import PUBLISHED_NAMES as OF_MKUNET
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


ENTRIES = {
    "MK-UNet network": Entry(_mkunet, names=OF_MKUNET),
    "BEVANet segmentation network": Entry(
        _bevanet, outputs=("output", "output.ds", "output.db"), names=OF_BEVANET, call=_all_heads, draws=_fewer_hidden
    ),
}
