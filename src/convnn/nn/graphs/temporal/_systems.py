"""Facts of what reads graphs in time: snapshots, and skeletons. None of it has a `--layer`."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import DeferredPlain
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="graphs")

_CELL = {"rnn": "gru", "max_cores": None}
_NETWORK = {
    "hidden_channels": 500,
    "form": "connective",
    "linear_layers": 1,
    "core_layers": 2,
    "activation": "none",
    **_CELL,
    "bias": True,
}
DeferredPlain("temporal.cores", "k_core_adjacencies", max_cores=None)
DeferredPlain("temporal.cores", "CoreDiffusion", **_CELL, bias=True)
DeferredPlain("temporal.snapshots", "CoreStack", num_layers=1, **_CELL)
DeferredPlain("temporal.snapshots", "CGCN", **_NETWORK)
DeferredPlain("temporal.snapshots", "CTGCN", **_NETWORK)
register_system(
    _fact(
        number=5,
        name="CTGCN: k-cores and snapshots in order",
        selects="the neighbours within each k-core, from the densest to the whole graph",
        weighs="by the weights of the edges",
        aggregates="a sum for each core, a recurrent network over the cores, and another over the snapshots",
        paper="arXiv 2003.09902",
        checked=f"{PUBLISHED}, of layer, networks and loss; loops with cells of torch; GINConv of PyTorch Geometric",
        where="convnn.nn.graphs.CoreDiffusion convnn.nn.graphs.CTGCN convnn.nn.graphs.CGCN"
        " convnn.nn.graphs.k_core_adjacencies convnn.objectives.snapshots.connective_loss",
    )
)
DeferredPlain("temporal.joints", "skeleton_subsets")
DeferredPlain("temporal.joints", "with_virtual_joints")
DeferredPlain("temporal.curves", "temporal_links")
DeferredPlain("temporal.curves", "curves")
DeferredPlain("temporal.curves", "CurveConv", kernel_size=3, bias=True)
DeferredPlain("temporal.dilated", "dilate_adjacency", window=False)
DeferredPlain("temporal.dilated", "normalize_targets")
DeferredPlain("temporal.dilated", "DilatedGraphConv", num_subsets=3)
register_system(
    _fact(
        number=25,
        name="STC-Net: curves and dilated kernels",
        selects="the nearest joint in the next frame, and so on; in a frame, the joints d steps away",
        weighs="equally; by the number of joints at that distance",
        aggregates="a weight for each frame along the curve; a linear map for each subset of the joints",
        paper="arXiv 2212.04761",
        checked="numbers of its definition, since no code is public; loops; plain temporal convolution; SciPy's nearest"
        " points; networkx's distances",
        where="convnn.nn.graphs.CurveConv convnn.nn.graphs.temporal_links convnn.nn.graphs.DilatedGraphConv"
        " convnn.nn.graphs.dilate_adjacency",
    )
)
DeferredPlain("temporal.hyperedges", "hypergraph_operator")
DeferredPlain("temporal.hyperedges", "nearest_incidence")
DeferredPlain("temporal.hyperedges", "AdaptiveHyperGraphConv", k=9, reduction=4)
DeferredPlain(
    "temporal.multi_scale", "MultiScaleTemporalConv", kernel_size=5, stride=1, dilations=(1, 2), residual=False
)
register_system(
    _fact(
        number=103,
        name="Hyper-GCN: found hyperedges and virtual joints",
        selects="the bones, all virtual joints, and in each subset of channels the k nearest joints by their means",
        weighs="learned importances; softmax of the distances and a learned weight for each hyperedge",
        aggregates="a sum over the bones, and from joints to hyperedges and back; then several scales of time",
        paper="arXiv 2411.14796",
        checked=f"{PUBLISHED}, of layer, temporal part and loss; loops; HypergraphConv of PyTorch Geometric",
        where="convnn.nn.graphs.AdaptiveHyperGraphConv convnn.nn.graphs.hypergraph_operator"
        " convnn.nn.graphs.MultiScaleTemporalConv convnn.objectives.skeletons.virtual_divergence_loss"
        " convnn.models.skeletons.HyperGCN",
    )
)
