"""Networks from images to maps: MK-UNet (arXiv 2509.18493)."""

from convnn.models.segmentation import MKUNet
from convnn.models.segmentation.mkunet import PUBLISHED_NAMES as OF_MKUNET
from golden.case import Case
from golden.entry import Entry, Refused


def _mkunet(case: Case) -> MKUNet:
    block = {"kernel_sizes": [1, 3, 5], "expansion_factor": 2, "gag_kernel": 3}
    if any(case.config[name] != value for name, value in block.items()):
        raise Refused(f"other blocks than {block}")
    return MKUNet(widths=case.config["channels"], **case.pick("depths", "in_channels", "num_classes"))


ENTRIES = {"MK-UNet network": Entry(_mkunet, names=OF_MKUNET)}
