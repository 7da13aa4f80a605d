"""Networks for semantic segmentation: images, or volumes, to maps of class logits."""

from convnn.models.segmentation._network import SegmentationNetwork
from convnn.models.segmentation.bevanet import BEVANet, bevanet, bevanet_l, bevanet_s, bevanet_sw
from convnn.models.segmentation.birds_eye import BirdsEyeNetwork, gkt
from convnn.models.segmentation.graph_unet import GraphBottleneck3d, GraphUNet3d, unet_gnn, unet_gnn_knn
from convnn.models.segmentation.mkunet import MKUNet, mkunet, mkunet_l, mkunet_m, mkunet_s, mkunet_t
from convnn.models.segmentation.unet import UNet, unet
from convnn.models.segmentation.unet3d import UNet3d, unet3d

__all__ = [
    "BEVANet",
    "BirdsEyeNetwork",
    "GraphBottleneck3d",
    "GraphUNet3d",
    "MKUNet",
    "SegmentationNetwork",
    "UNet",
    "UNet3d",
    "bevanet",
    "bevanet_l",
    "bevanet_s",
    "bevanet_sw",
    "gkt",
    "mkunet",
    "mkunet_l",
    "mkunet_m",
    "mkunet_s",
    "mkunet_t",
    "unet",
    "unet3d",
    "unet_gnn",
    "unet_gnn_knn",
]
