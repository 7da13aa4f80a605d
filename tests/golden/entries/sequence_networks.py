"""Networks whose kernels reach over all of their input, on sequences and images."""

from convnn.models import CKCNN
from convnn.nn.replace import factory_along
from golden.case import Case
from golden.entry import Entry


def _ckcnn(case: Case) -> CKCNN:
    layer = factory_along("CKConv", 1, no_hidden=case.config["kernelnet_no_hidden"])
    settings = case.pick("in_channels", "omega_0", num_classes="out_channels", d_hidden="no_hidden")
    return CKCNN(layer, num_layers=case.config["no_blocks"], **settings)


SAMPLED = ("conv_kernel", "train_length")
"""The kernel of the last forward pass, and the length of training, which is that of the input."""

IN_BLOCKS = {
    "backbone": "features",
    "cconv1": "first.layer.operator",
    "cconv2": "second.layer.operator",
    "norm1": "first.norm",
    "norm2": "second.norm",
    "shortcut.0": "shortcut",
    "Kernel": "kernel",
    "finallyr": "head",
}

ENTRIES = {
    "CKCNN network (seqImg_CKCNN)": Entry(
        _ckcnn,
        names=IN_BLOCKS
        | {"layer_norm": "", "kernel_net.0": "layers.0", "kernel_net.4": "layers.1", "kernel_net.8": "layers.2"},
        aside=[f"buffer.backbone.{j}.cconv{i}.{name}" for j in range(2) for i in (1, 2) for name in SAMPLED],
    ),
}
