"""Networks for semantic segmentation: images to maps of class logits."""

from convnn.models.segmentation._network import SegmentationNetwork
from convnn.models.segmentation.mkunet import MKUNet, mkunet, mkunet_l, mkunet_m, mkunet_s, mkunet_t

__all__ = ["MKUNet", "SegmentationNetwork", "mkunet", "mkunet_l", "mkunet_m", "mkunet_s", "mkunet_t"]
