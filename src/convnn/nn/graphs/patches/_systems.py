"""Facts of the network on patches of graphs."""

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import Deferred
from convnn.systems import PUBLISHED, System, register_system

Deferred("patches.geometric", "GINE")
Deferred("patches.geometric", "node_eigenvectors")
register_system(
    System(
        family="graphs",
        number=39,
        name="Graph ViT and MLP-Mixer: patches of a graph",
        selects="the nodes of a part of the graph and those near it; then every part",
        weighs="equally within a part; an MLP over the parts, or a softmax that may know how many nodes they share",
        aggregates="any layer on graphs within each part and a mean; then a mean over the parts",
        paper="arXiv 2212.13350",
        checked=f"{PUBLISHED}; PyTorch Geometric's encodings by walks; PyTorch's MultiheadAttention; timm's MixerBlock",
        where="convnn.models.GraphPatches convnn.nn.graphs.patches.mixer.GraphPatchMixer",
    )
)
