"""Networks that can be built with any layer."""

from convnn.models._network import Network
from convnn.models._registry import (
    check_layer,
    check_model,
    create_model,
    default_layer,
    describe_model,
    layers_for,
    list_models,
    model_settings,
    reads_of,
    register_model,
)
from convnn.models.ccnn import CCNN, CCNN1d, ccnn4, ccnn4_1d, ccnn6, ccnn6_1d
from convnn.models.ckcnn import CKCNN, ckcnn, ckcnn_1m
from convnn.models.densenet import DenseNet, densenet121
from convnn.models.external import ExternalNetwork, is_external
from convnn.models.flexnet import FlexNet, FlexNet1d, flexnet5, flexnet7, flexnet7_1d
from convnn.models.long_stack import LongConvNet, LongStack, SGNet, longconvnet, longconvnet_lra, sgnet
from convnn.models.mobilevig import (
    GreedyViG,
    MobileViGv2,
    greedyvig_b,
    greedyvig_m,
    greedyvig_s,
    mobilevigv2_b,
    mobilevigv2_m,
    mobilevigv2_s,
    mobilevigv2_ti,
)
from convnn.models.resnet import ResNet, resnet18, resnet34
from convnn.models.smpnet import SMPNet, SMPNet1d, smpnet, smpnet_1d
from convnn.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from convnn.models.vit import ViT, vit, vit_base, vit_small, vit_tiny

__all__ = [
    "CCNN",
    "CKCNN",
    "VGG",
    "CCNN1d",
    "DenseNet",
    "ExternalNetwork",
    "FlexNet",
    "FlexNet1d",
    "GreedyViG",
    "LongConvNet",
    "LongStack",
    "MobileViGv2",
    "Network",
    "ResNet",
    "SGNet",
    "SMPNet",
    "SMPNet1d",
    "ViT",
    "ccnn4",
    "ccnn4_1d",
    "ccnn6",
    "ccnn6_1d",
    "check_layer",
    "check_model",
    "ckcnn",
    "ckcnn_1m",
    "create_model",
    "default_layer",
    "densenet121",
    "describe_model",
    "flexnet5",
    "flexnet7",
    "flexnet7_1d",
    "greedyvig_b",
    "greedyvig_m",
    "greedyvig_s",
    "is_external",
    "layers_for",
    "list_models",
    "longconvnet",
    "longconvnet_lra",
    "mobilevigv2_b",
    "mobilevigv2_m",
    "mobilevigv2_s",
    "mobilevigv2_ti",
    "model_settings",
    "reads_of",
    "register_model",
    "resnet18",
    "resnet34",
    "sgnet",
    "smpnet",
    "smpnet_1d",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit",
    "vit_base",
    "vit_small",
    "vit_tiny",
]
