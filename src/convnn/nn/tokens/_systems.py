"""Layers on tokens: attention whose heads say who, how much and how."""

from functools import partial

from convnn.nn.registry import register_layer
from convnn.nn.tokens.attention import Attention, KvtAttention
from convnn.nn.tokens.branching import BranchAttention, BranchConv
from convnn.nn.tokens.convnn import ConvNNAttention
from convnn.nn.tokens.windows import LocalAttention, NeighborhoodAttention, SparseAttention
from convnn.systems import PUBLISHED, System, register_family

register_family(
    "tokens",
    "Attention by neighbours",
    "Layers on sequences (B, T, D). Each goes where multi-head self-attention was; they differ in who the neighbours of"
    " a token are, and in what is done with them.",
)
_fact = partial(System, family="tokens", aggregates="a sum")
_register = partial(register_layer, reads="tokens")

SOFTMAX = "softmax of the scaled inner products"

_register(
    "Attention",
    Attention,
    _fact(
        name="Multi-head attention",
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
        selects="the K most similar tokens in each head",
        weighs="softmax of the similarities, or the similarities",
        aggregates="a kernel over the ranks: depthwise, separable or full",
        paper="arXiv 2511.14137",
        checked=f"{PUBLISHED}; the definition in loops; of every token with ones it is attention",
        where="convnn.nn.ConvNNAttention",
    ),
)
_register(
    "KvtAttention",
    KvtAttention,
    _fact(
        name="KVT: k-NN attention",
        selects="the K tokens of the highest score in each head",
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
        selects="the tokens at most a window away",
        weighs="softmax of the scaled inner products, turned by the places",
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
        selects="a window of K tokens, shifted inwards at the ends",
        weighs=SOFTMAX,
        paper="arXiv 2204.07143",
        checked="the definition in loops; with a window of every token it is attention",
        where="convnn.nn.NeighborhoodAttention",
    ),
)
_register(
    "SparseAttention",
    SparseAttention,
    _fact(
        name="Sparse attention",
        selects="every token, those near by, or those a multiple of a stride away",
        weighs=SOFTMAX,
        paper="arXiv 1904.10509",
        checked=f"{PUBLISHED}; the definition in loops; attention under a mask",
        where="convnn.nn.SparseAttention",
    ),
)
_register(
    "BranchConv",
    BranchConv,
    _fact(
        name="ConvNN attention beside a convolution",
        selects="the K most similar tokens, and a window, for a share of the channels each",
        weighs="softmax of the similarities, and alike",
        aggregates="both beside each other, mixed by a linear layer",
        paper="arXiv 2511.14137",
        checked=f"{PUBLISHED}; at either end of the share it is one layer",
        where="convnn.nn.BranchConv",
    ),
    ConvNNAttention,
)
_register(
    "BranchAttention",
    BranchAttention,
    _fact(
        name="ConvNN attention beside attention",
        selects="the K most similar tokens, and every token, for a share of the channels each",
        weighs="softmax of the similarities",
        aggregates="both beside each other, mixed by a linear layer",
        paper="arXiv 2511.14137",
        checked=f"{PUBLISHED}; at either end of the share it is one layer",
        where="convnn.nn.BranchAttention",
    ),
    ConvNNAttention,
)
