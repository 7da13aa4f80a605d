"""Networks for semantic segmentation: images to maps of class logits."""

from convnn.models.segmentation._network import SegmentationNetwork
from convnn.models.segmentation.bevanet import BEVANet, bevanet, bevanet_l, bevanet_s, bevanet_sw
from convnn.models.segmentation.mkunet import MKUNet, mkunet, mkunet_l, mkunet_m, mkunet_s, mkunet_t
from convnn.models.segmentation.unet import UNet, unet

__all__ = [
    "BEVANet",
    "MKUNet",
    "SegmentationNetwork",
    "UNet",
    "bevanet",
    "bevanet_l",
    "bevanet_s",
    "bevanet_sw",
    "mkunet",
    "mkunet_l",
    "mkunet_m",
    "mkunet_s",
    "mkunet_t",
    "unet",
]
