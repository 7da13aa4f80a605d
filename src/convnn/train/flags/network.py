"""Flags of the network and of what it is built from."""

from dataclasses import dataclass

from convnn.models import NAMED_REDUCERS
from convnn.models.coding import PRIORS
from convnn.models.splats import SPLAT_KINDS
from convnn.nn import OVER_HEADS, TOKEN_GRAPHS, TOKEN_SCORES, list_layers
from convnn.nn.replace import SCOPES
from convnn.objectives.boxes import OVERLAPS
from convnn.ops.type_codes import CODES
from convnn.train.flags._flag import DEEPEST, LARGEST_FACTOR, WIDEST, flags_of
from convnn.train.recipe import LARGEST_SIDE

flag = flags_of("network")


@dataclass(frozen=True)
class NetworkFlags:
    """The help of each field describes it."""

    model: str = flag("vgg11", "architecture: a name from convnn models, torchvision:NAME or timm:NAME")
    layer: str = flag("ConvNN", "layer it is built from", list_layers)
    imports: str | None = flag(None, "module or .py file that registers layers; may be repeated", option="--import")
    where: str = flag("*", "pattern of the layers that --layer replaces in a network of torchvision or timm")
    pretrained: bool = flag(False, "start from pretrained weights, for networks of torchvision and timm")
    share_kernels: str = flag(
        "none",
        "layers of one shape use one kernel: those of a stage, or of the whole model",
        SCOPES,
        without_value="stage",
    )
    width: float = flag(
        1.0, "factor on all channel numbers; 1 is the published network", above=0.0, most=LARGEST_FACTOR
    )
    dropout: float = flag(0.5, "dropout before linear layers, and before all of gnn's, 0 to 1", least=0.0, most=1.0)
    patch_size: int = flag(16, "patch size of ViT in pixels", least=1, most=LARGEST_SIDE)
    num_layers: int = flag(
        12,
        "number of blocks of ViT, and of networks on sequences and graphs, of layers of recommender and gmcn, of steps"
        " of a level of finc_flow, of blocks of a level of diffusesg, of halvings of unet, and of sizes of voxels of"
        " kernel_field",
        least=0,
        most=DEEPEST,
    )
    num_heads: int = flag(
        3, "number of heads of layers on tokens, of diffusesg, and of readers of triples", least=1, most=WIDEST
    )
    d_hidden: int = flag(
        192,
        "width of ViT's tokens, channels of networks on sequences and graphs, of diffusesg and gmcn, and inside of the"
        " couplings of finc_flow and of common",
        least=1,
        most=WIDEST,
    )
    d_mlp: int = flag(768, "hidden dimension of the MLPs of ViT, and of readers of triples", least=1, most=WIDEST)
    distillation_token: bool = flag(False, "a second token of ViT, which --distill_loss cskd teaches")
    reduce_tokens: str = flag(
        "none",
        "tokens leave a ViT, of timm, too, from block to block, and pass on their features (gtp), are replaced by their"
        " mean, or dropped",
        NAMED_REDUCERS,
        without_value="gtp",
    )
    keep_tokens: float = flag(0.5, "share of the patches that is left, 0 to 1", above=0.0, most=1.0)
    num_prop: int | None = flag(None, "patches that leave in each block, in place of such a share", least=0)
    reduce_within: int | None = flag(None, "number of first blocks in which they leave; None: all", least=1)
    token_score: str = flag("mixed", "attention by which patches are kept", TOKEN_SCORES)
    token_heads: str = flag("max", "how it is put together from all heads", tuple(OVER_HEADS))
    token_sparsity: float = flag(1.0, "share of the attention that is not set to 0 before, 0 to 1", above=0.0, most=1.0)
    token_graph: str = flag("mixed", "to whom gtp passes on: patches around, alike, or both", TOKEN_GRAPHS)
    token_neighbors: int = flag(8, "number of patches that are alike", least=1, most=LARGEST_SIDE**2)
    token_alpha: float = flag(0.1, "share that gtp passes on", least=0.0)
    token_scales: bool = flag(True, "attention to all favours tokens that have received others")
    image_size: int = flag(
        224, "image size for which mobilevigv2 and greedyvig scale their steps", least=1, most=LARGEST_SIDE
    )
    drop_path: float = flag(
        0.1, "stochastic depth rate of the last block of networks of four stages", least=0.0, most=1.0
    )
    layer_scale: float = flag(1e-6, "initial factor of what their blocks add, where it is learned", least=0.0)
    layer_dropout: float = flag(
        0.0, "dropout of channels in all layers of kan4 and kan8 but the first", least=0.0, most=1.0
    )
    levels: int = flag(3, "number of levels of finc_flow and diffusesg, each of which halves the map", least=1, most=10)
    iterations: int = flag(12, "number of corrections of the flow in skflow and skflow_s", least=1, most=DEEPEST)
    invertible_conv: bool = flag(True, "steps of finc_flow have FInC2d; without it the flow is Glow")
    split_prior: bool = flag(True, "half of the channels of finc_flow are done after each level")
    prior: str = flag("ar", "what dcvc knows of a latent: positions before, in two passes, or in four", PRIORS)
    coding: str = flag("conditional", "how dcvc uses the frame before", ("conditional", "residual"))
    lmbda: float = flag(256.0, "bits of a pixel that a squared error of 1 is worth to dcvc", above=0.0)
    motion_epochs: int = flag(1, "first epochs of dcvc, in which it learns the motion alone", least=0)
    components: int = flag(
        8, "Gaussians after the first convolution of gmcn, of which each further one has half", least=1, most=WIDEST
    )
    kernel_components: int = flag(5, "Gaussians of each of its kernels", least=1, most=WIDEST)
    kernel_radius: float = flag(2.5, "how far they are from the middle at first", above=0.0)
    mixture_norm: str = flag("sample", "over what gmcn normalises the scale", ("batch", "sample"))
    teacher_momentum: float = flag(
        0.98, "how much of the teacher of common stays at a step, from 0 to below 1", least=0.0, most=1.0
    )
    teacher_share: float = flag(0.4, "how much of its targets is what the teacher sees", least=0.0, most=1.0)
    teacher_warmup: int = flag(100, "batches until it is as much", least=1)
    edge_weight: float = flag(1.0, "weight of the contrast of edges in its loss", least=0.0)
    type_code: str = flag("scalar", "how diffusesg codes categories and relations; of many, bits", CODES)
    iou: str = flag(
        "none", "overlap with the true boxes that is part of diffusesg's loss", (*OVERLAPS, "none"), without_value="iou"
    )
    iou_weight: float = flag(0.1, "factor of this part", least=0.0)
    self_condition: bool = flag(False, "diffusesg reads its own earlier estimate")
    shuffle_nodes: bool = flag(False, "in training, objects of diffusesg are in a random order")
    kernel_dim: int = flag(4, "features that the kernel of kernel_field compares", least=1, most=WIDEST)
    points_per_voxel: float = flag(2.0, "points that a finest voxel of kernel_field holds on average", above=1.0)
    splat_kind: str = flag("voxels", "what splats renders: Gaussians that voxels make, or free ones", SPLAT_KINDS)
    num_gaussians: int = flag(400, "number of these voxels, or of the free Gaussians", least=4, most=WIDEST)
    slots: int = flag(4, "Gaussians that a voxel makes", least=1, most=WIDEST)
    distortion: float = flag(1.0, "weight of distortion in the loss of splats, which brings depths together", least=0.0)
    normals: float = flag(0.02, "weight of normals in the loss of splats", least=0.0)
    surface_from: int = flag(11, "epoch in which both join", least=1)
    kan_groups: int = flag(1, "blocks of channels that do not mix in these layers", least=1)
    kernel_size: int = flag(3, "kernel size of convolutions", least=1, most=LARGEST_SIDE)
    padding: int = flag(1, "zero padding of the map in which neighbours are searched", least=0, most=LARGEST_SIDE)
