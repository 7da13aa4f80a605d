"""Facts of the layers on maps whose neighbours are fixed by place in a window."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.windows.bands import InceptionDW2d
from convnn.nn.windows.expanded import KANConv2d
from convnn.nn.windows.gated_stack import LKA2d
from convnn.nn.windows.large_kernel import RepLK2d, UniRepLK2d
from convnn.nn.windows.multi_kernel import MultiKernelDW2d
from convnn.nn.windows.neighborhood import NeighborhoodAttention2d
from convnn.nn.windows.recursion import RecConv2d
from convnn.nn.windows.selected_kernels import LSK2d
from convnn.nn.windows.shifted_sums import ShiftWise2d
from convnn.nn.windows.strips import SDLSKA2d
from convnn.nn.windows.super_kernel import SuperKernel2d
from convnn.nn.windows.token_kernel import LKCA2d
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "windows",
    "Windows",
    "Layers on maps (B, C, H, W) whose neighbours are fixed by place in a window around each position. They differ in"
    " the weights.",
)
_fact = partial(System, family="windows", weighs="equally")
_register = partial(register_layer, fixed=("padding",))  # these layers continue the map by zeros, or not at all

_register(
    "NeighborhoodAttention2d",
    NeighborhoodAttention2d,
    _fact(
        number=68,
        name="TCSR: neighbourhood attention",
        published="Neighborhood attention, NATTEN",
        when="attention at a cost linear in the map",
        selects="the k x k window, shifted inwards at the border",
        weighs="softmax of the scaled inner products and a learned bias for each offset",
        aggregates="a sum in each head, then a linear layer",
        paper="arXiv 2303.14324, arXiv 2204.07143",
        checked=f"{PUBLISHED}, NATTEN's; the definition in loops; NonLocal, for a window as large as the map",
        where="convnn.nn.NeighborhoodAttention2d",
    ),
)
register_system(
    _fact(
        name="Spatial shift",
        selects="one of the eight adjacent positions, a different one for each eighth of the channels",
        aggregates="a copy of the neighbour",
        paper="arXiv 2307.16140",
        checked=f"{PUBLISHED}, that of the same author's SCNet",
        where="convnn.nn.SpatialShift2d",
    )
)
register_system(
    _fact(
        name="TCSR: attention and shift",
        selects="the k x k window, shifted inwards at the border; then the eight adjacent positions",
        weighs="softmax of the scaled inner products and a learned bias for each offset",
        aggregates="a sum in each head; then a copy of a neighbour for each eighth of the channels, between 1x1 ones",
        paper="arXiv 2303.14324, arXiv 2307.16140",
        checked="its parts, against the published code; the definition in loops",
        where="convnn.nn.ShiftBlock2d convnn.nn.ShiftFeedForward2d",
    )
)
_register(
    "RepLK",
    RepLK2d,
    _fact(
        number=54,
        name="RepLKNet: large kernel",
        published="ReparamLargeKernelConv",
        when="a wide view at the cost of a depthwise kernel",
        selects="the k x k window, k up to 31",
        aggregates="a kernel for each channel, trained with a smaller one that it takes in, then a 1x1 convolution",
        paper="arXiv 2203.06717",
        checked=f"{PUBLISHED}, of the whole network too; timm's layer with the same weights; merged and trained form",
        where="convnn.nn.RepLK2d convnn.models.RepLKNet",
    ),
)
_register(
    "UniRepLK",
    UniRepLK2d,
    _fact(
        number=8,
        name="UniRepLKNet: dilated branches",
        published="DilatedReparamBlock",
        when="a wide view whose kernel is trained in sparse parts",
        selects="the k x k window, k from 5 to 17",
        aggregates="a kernel for each channel, trained with dilated ones that it takes in, then a 1x1 convolution",
        paper="arXiv 2311.15599, arXiv 2410.08049",
        checked=f"{PUBLISHED}, of the whole network too; the published kernel; merged and trained form",
        where="convnn.nn.UniRepLK2d convnn.models.UniRepLKNet",
    ),
)
register_system(
    _fact(
        number=11,
        name="UniRepLKNet journal: effective receptive field",
        selects="every position of an image",
        weighs="how much it increases what is positive in the middle of the output",
        aggregates="the smallest square around the middle that holds a share of all contributions",
        paper="arXiv 2410.08049, arXiv 2203.06717",
        checked="the published code; the support of a convolution",
        where="convnn.viz.receptive_field convnn.viz.field_sides convnn.viz.layer_fields",
    )
)
_register(
    "InceptionDW",
    InceptionDW2d,
    _fact(
        number=4,
        name="InceptionNeXt: square and bands",
        published="InceptionDWConv2d",
        when="a long view that costs little: most channels are left as they are",
        selects="the square, the row or the column around the position, for three shares of the channels; itself",
        aggregates="a kernel for each channel of a share, then a 1x1 convolution",
        paper="arXiv 2303.16900",
        checked=f"{PUBLISHED}, of the whole network too; timm's layer with the same weights; one large kernel",
        where="convnn.nn.InceptionDW2d convnn.models.InceptionNeXt",
    ),
)
_register(
    "MultiKernelDW",
    MultiKernelDW2d,
    _fact(
        number=9,
        name="MK-UNet: kernels of several sizes",
        published="MKDC and MKIR",
        when="details and surroundings together, in small networks",
        selects="windows of several sizes, usually 1, 3 and 5",
        aggregates="a kernel of each size for each channel, normalised, activated and summed, between 1x1 convolutions",
        paper="arXiv 2509.18493",
        checked=f"{PUBLISHED}, running statistics too; one kernel, before the activation; merged and trained form",
        where="convnn.nn.MultiKernelDW2d convnn.models.segmentation.MKUNet",
    ),
)
_register(
    "ShiftWise",
    ShiftWise2d,
    _fact(
        number=27,
        name="ShiftwiseConv: shifted small kernels",
        published="ShiftWise, ShifthWiseConv2dImplicit",
        when="a view as long as the map along rows and columns, of small kernels",
        selects="a wide and a tall band around the position",
        aggregates="bands put together from small kernels, for most channels, added to them, then a 1x1 convolution",
        paper="arXiv 2401.12736",
        checked=f"{PUBLISHED}, of the whole network too; shifting and adding; the sparse kernel; merged form",
        where="convnn.nn.ShiftWise2d convnn.models.Shiftwise",
    ),
)
_register(
    "LKA",
    LKA2d,
    _fact(
        number=117,
        name="VAN: large kernel attention",
        published="LKA, the Attention of VAN",
        when="weights of their own for every position, without comparing any two",
        selects="the window, here 23 x 23, through a small and a dilated kernel",
        weighs="the position's features, by which the sum is multiplied",
        aggregates="a stack of kernels for each channel between 1x1 convolutions",
        paper="arXiv 2202.09741",
        checked=f"{PUBLISHED}, with the 1x1 convolutions around, and of the whole network; LSK, for one of its kernels",
        where="convnn.nn.LKA2d convnn.models.VAN",
    ),
)
_register(
    "LSK",
    LSK2d,
    _fact(
        number=78,
        name="LSKNet: selected kernels",
        published="LSKblock, the Attention of LSKNet",
        when="objects of different sizes: every position takes the kernel that it needs",
        selects="the windows 5 x 5 and 23 x 23, each by a share that the position computes",
        weighs="the two shares, and the position's features, by which the sum is multiplied",
        aggregates="two kernels in a row for each channel between 1x1 convolutions",
        paper="arXiv 2303.09030, arXiv 2403.11735",
        checked=f"{PUBLISHED}, with the 1x1 convolutions around, and of the whole network; LKA, for one of its kernels",
        where="convnn.nn.LSK2d convnn.models.LSKNet",
    ),
)
_register(
    "RecConv",
    RecConv2d,
    _fact(
        number=119,
        name="RecNeXt: recursive convolution",
        published="RecConv2d",
        when="a view over the whole map at less than twice the cost of one small kernel",
        selects="the k x k window, on the map and on maps of half, a quarter, ... of its sides",
        aggregates="a kernel for each channel and resolution, from coarse to fine, then a 1x1 convolution",
        paper="arXiv 2412.19628",
        checked=f"{PUBLISHED}, of the whole network too; a depthwise convolution, for level 0; linearity",
        where="convnn.nn.RecConv2d convnn.models.RecNeXt",
    ),
)
_register(
    "SDLSKA",
    SDLSKA2d,
    _fact(
        number=47,
        name="BEVANet: selected strips",
        published="SDLSKA with CKS, SpatialAttention",
        when="long rows and columns, selected by channel and by position",
        selects="a small window, and dilated strips of its row and column",
        weighs="shares by channel and by position, and the position's features, by which the sum is multiplied",
        aggregates="a kernel for each channel in all three, between 1x1 convolutions",
        paper="arXiv 2508.07300",
        checked=f"{PUBLISHED}, with the 1x1 convolutions around; the sum of its kernels, for equal shares",
        where="convnn.nn.SDLSKA2d convnn.models.segmentation.BEVANet",
    ),
)
_register(
    "SuperKernel",
    SuperKernel2d,
    _fact(
        number=19,
        name="SKFlow: super kernels",
        published="PCBlock4_Deep_nopool_res",
        when="a large kernel after small ones, each with a residual, as in optical flow",
        selects="windows of growing size, one after the other, usually 1 and 15",
        aggregates="a kernel for each channel with a residual and GELU, between pairs of 1x1 convolutions",
        paper="arXiv 2205.14623",
        checked=f"{PUBLISHED}; merged and trained form",
        where="convnn.nn.SuperKernel2d convnn.models.flow.SKFlow",
    ),
)
_register(
    "LKCA",
    LKCA2d,
    _fact(
        number=26,
        name="LKCA: attention by offset",
        published="LKCA, of which there is no code",
        when="attention over the whole map that does not depend on its content",
        selects="every position, up to 13 away along each axis",
        weighs="a learned weight for each offset",
        aggregates="a sum for each channel, then a 1x1 convolution",
        paper="arXiv 2401.05738",
        checked="the definition in loops, outputs and all gradients; the matrix of attention, from sliding windows",
        where="convnn.nn.LKCA2d",
    ),
)
_register(
    "KANConv",
    KANConv2d,
    _fact(
        number=16,
        name="KAN convolutions: functions of the channels",
        published="KANConv2DLayer, FastKAN, KACN, KAGN, KALN, KAJN, ReLUKAN, WavKAN",
        when="few layers whose weights should themselves be nonlinear",
        selects="the k x k window",
        aggregates="a kernel for each of n functions of every channel, such as splines, Gaussians or polynomials",
        paper="arXiv 2407.01092",
        checked=f"{PUBLISHED}; SciPy's splines and polynomials; a convolution, for the linear basis",
        where="convnn.nn.KANConv2d",
    ),
    fixed=("padding", "dropout", "jacobi_a", "jacobi_b"),
)
register_system(
    _fact(
        number=111,
        name="Sliding convolution",
        selects="the k x k window",
        weighs="a learned weight for each offset",
        aggregates="a sum of rows, each moved by its offset, without unfolding them",
        paper="arXiv 2310.05218",
        checked="PyTorch's convolutions and unfolded windows in float64, with all gradients; the definition in loops",
        where="convnn.ops.sliding_conv convnn.ops.sliding_reduce",
    )
)
register_system(
    _fact(
        number=18,
        name="GKT: projected windows",
        selects="in the map of every camera, the window around the projection of a cell seen from above",
        weighs="softmax of the scaled inner products of cell and position, with their directions from the camera",
        aggregates="a sum in each head, over all cameras; then a linear layer and an MLP",
        paper="arXiv 2206.04584",
        checked=f"{PUBLISHED}, projections too; PyTorch's attention on gathered windows; windows in loops",
        where="convnn.nn.ProjectedAttention2d convnn.ops.projection.project_windows"
        " convnn.models.segmentation.BirdsEyeNetwork",
    )
)
