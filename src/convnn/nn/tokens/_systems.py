"""Facts of the layers on tokens."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.tokens.attention import Attention, KvtAttention
from convnn.nn.tokens.blocks import BlockSparseAttention
from convnn.nn.tokens.branching import BranchAttention, BranchConv
from convnn.nn.tokens.convnn import ConvNNAttention
from convnn.nn.tokens.global_context import GlobalContext
from convnn.nn.tokens.offsets import LKCAttention
from convnn.nn.tokens.windows import LocalAttention, NeighborhoodAttention, SparseAttention
from convnn.nn.tokens.wkv import VRWKV
from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "tokens",
    "Attention by neighbours",
    "Layers on sequences (B, T, D). Each of them can replace multi-head self-attention; they differ in the"
    " neighbours of each token, and in how these are combined.",
)
_fact = partial(System, family="tokens", aggregates="a sum")
_register = partial(register_layer, reads="tokens")

SOFTMAX = "softmax of the scaled inner products"

_register(
    "Attention",
    Attention,
    _fact(
        name="Multi-head attention",
        published="Multi-head attention",
        when="the baseline of transformers",
        selects="every token",
        weighs=SOFTMAX,
        paper="arXiv 1706.03762",
        checked=f"{PUBLISHED}; PyTorch's MultiheadAttention; the definition in loops",
        where="convnn.nn.Attention",
    ),
)
_register(
    "ConvNNAttention",
    ConvNNAttention,
    _fact(
        name="ConvNN attention",
        published="ConvNN attention, MultiHeadConvNNAttention",
        when="few similar tokens, with a learned weight for each rank",
        selects="the K most similar tokens in each head",
        weighs="softmax of the similarities, or the similarities",
        aggregates="a kernel over the ranks: depthwise, separable or full",
        paper="arXiv 2511.14137",
        checked=f"{PUBLISHED}; the definition in loops; attention, for K of all tokens and a kernel of ones",
        where="convnn.nn.ConvNNAttention",
    ),
)
_register(
    "KvtAttention",
    KvtAttention,
    _fact(
        name="KVT: k-NN attention",
        published="KVT, k-NN attention",
        when="attention without its many small weights",
        selects="the K tokens with the highest scores in each head",
        weighs=SOFTMAX,
        paper="arXiv 2106.00515",
        checked=f"{PUBLISHED}; the definition in loops; attention with all other scores masked",
        where="convnn.nn.KvtAttention",
    ),
)
_register(
    "LocalAttention",
    LocalAttention,
    _fact(
        name="Local attention",
        published="local-attention",
        when="long sequences in which nearby tokens matter",
        selects="the tokens at most one window away",
        weighs="softmax of the scaled inner products, with rotary positions",
        paper="arXiv 2104.09864, the package local-attention",
        checked=f"{PUBLISHED}; the definition in loops; rotary attention under a mask",
        where="convnn.nn.LocalAttention",
    ),
)
_register(
    "NeighborhoodAttention",
    NeighborhoodAttention,
    _fact(
        name="Neighbourhood attention of tokens",
        published="Neighborhood attention",
        when="the same number of nearby tokens for every token",
        selects="a window of K tokens, shifted inwards at the ends",
        weighs=SOFTMAX,
        paper="arXiv 2204.07143",
        checked="the definition in loops; attention, for a window of all tokens",
        where="convnn.nn.NeighborhoodAttention",
    ),
)
_register(
    "SparseAttention",
    SparseAttention,
    _fact(
        name="Sparse attention",
        published="Sparse Transformer attention",
        when="long sequences with structure at a fixed stride",
        selects="every token, nearby tokens, or tokens a multiple of a stride away",
        weighs=SOFTMAX,
        paper="arXiv 1904.10509",
        checked=f"{PUBLISHED}; the definition in loops; attention under a mask",
        where="convnn.nn.SparseAttention",
    ),
)
_register(
    "BlockSparseAttention",
    BlockSparseAttention,
    _fact(
        number=113,
        name="Block-sparse attention",
        published="Faster VGGT, block-sparse global attention",
        when="long sequences in which most of the attention lies between few blocks of tokens",
        selects="the blocks of tokens whose mean is most similar to that of the own block, in each head",
        weighs=SOFTMAX,
        paper="arXiv 2509.07120",
        checked=f"{PUBLISHED}; attention under a mask, PyTorch's flex_attention; attention, for all blocks",
        where="convnn.nn.BlockSparseAttention",
    ),
)
_register(
    "LKCAttention",
    LKCAttention,
    _fact(
        name="LKCA of tokens",
        published="LKCA, of which there is no code",
        when="attention to all patches that does not depend on their content",
        selects="every patch, up to 13 away along each axis",
        weighs="a learned weight of each head for each offset",
        paper="arXiv 2401.05738",
        checked="the definition's network, from its numbers; the matrix of attention",
        where="convnn.nn.LKCAttention",
    ),
)
_register(
    "BranchConv",
    BranchConv,
    _fact(
        name="ConvNN attention beside a convolution",
        published="Branching, MultiHeadBranchingConv",
        when="similar tokens for a share of the channels, nearby tokens for the rest",
        selects="the K most similar tokens for a share of the channels, a window for the rest",
        weighs="softmax of the similarities, or equally",
        aggregates="both in parallel, mixed by a linear layer",
        paper="arXiv 2511.14137",
        checked=f"{PUBLISHED}; one of the two layers, for branch_ratio 0 or 1",
        where="convnn.nn.BranchConv",
    ),
    ConvNNAttention,
)
_register(
    "BranchAttention",
    BranchAttention,
    _fact(
        name="ConvNN attention beside attention",
        published="Branching, MultiHeadBranchingAttention",
        when="few similar tokens for a share of the channels, all tokens for the rest",
        selects="the K most similar tokens for a share of the channels, every token for the rest",
        weighs="softmax of the similarities",
        aggregates="both in parallel, mixed by a linear layer",
        paper="arXiv 2511.14137",
        checked=f"{PUBLISHED}; one of the two layers, for branch_ratio 0 or 1",
        where="convnn.nn.BranchAttention",
    ),
    ConvNNAttention,
)
_register(
    "GlobalContext",
    GlobalContext,
    _fact(
        number=118,
        name="GC ViT: global queries",
        published="WindowAttentionGlobal and GlobalQueryGen",
        when="attention to the whole image at the cost of windows",
        selects="the window of patches around the own one",
        weighs="softmax of the inner products with queries of the pooled image, and a learned bias for each offset",
        paper="arXiv 2206.09959",
        checked=f"{PUBLISHED}, of the whole network too; timm's layer and network; attention, for a single window",
        where="convnn.nn.GlobalContext",
    ),
)
register_system(
    _fact(
        number=43,
        name="GTP: propagation of tokens",
        selects="the patches that receive most attention; of the others, those around and those alike",
        weighs="attention of a patch to itself times that of all to it; a share by the degrees of both in the graph",
        aggregates="the features of the patches that leave, added to those of their neighbours that stay",
        paper="arXiv 2311.03035",
        checked=f"{PUBLISHED}, in timm's Block; graph, shares and scores in loops; the ViT itself, where none leaves",
        where="convnn.nn.reduce_tokens convnn.nn.Propagation",
    )
)
_register(
    "VRWKV",
    VRWKV,
    _fact(
        name="Vision-RWKV",
        number=104,
        published="Vision-RWKV, VRWKV, Bi-WKV with Q-Shift",
        when="long sequences of patches, in time and memory linear in their number",
        selects="every token, and four neighbours on the map, each for a quarter of the channels",
        weighs="softmax of keys less the distance along the sequence, in every channel",
        aggregates="a weighted mean and a gate",
        paper="arXiv 2403.02308",
        checked=f"{PUBLISHED}; the dense softmax; scans in loops",
        where="convnn.nn.VRWKV convnn.ops.scan.bi_wkv",
    ),
)
register_system(
    System(
        family="tokens",
        name="CrossWKV",
        number=41,
        selects="every token of the other sequence, or every earlier one",
        weighs="by the delta rule: what the state holds for a key is replaced",
        aggregates="a state that is read",
        paper="arXiv 2504.14260, of which there is no code, and arXiv 2503.14456",
        checked="the published recurrence and self-attention, outputs and all gradients; loops; permutations tracked",
        where="convnn.nn.CrossWKV convnn.nn.RWKV7 convnn.ops.scan.delta_rule",
    )
)
