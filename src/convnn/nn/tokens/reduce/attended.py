"""Attention of a layer together with its weights, by which tokens are chosen."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn.tokens._layer import NeighborAttention
from convnn.nn.tokens.attention import Attention, KvtAttention
from convnn.nn.tokens.convnn import ConvNNAttention
from convnn.nn.tokens.reduce.importance import without_small

BY_CONTENT = (Attention, KvtAttention, ConvNNAttention)


def is_dense(layer: nn.Module) -> bool:
    """Return whether a layer is attention to all tokens, of this library or of timm."""
    return _is_timms(layer) or type(layer) is Attention


def why_it_keeps_all(layer: nn.Module) -> str | None:
    """Return why a layer cannot run on tokens of which some have left; None if it can."""
    if is_dense(layer):
        return None
    if not isinstance(layer, NeighborAttention):
        return "it does not tell to which tokens it attends"
    if not isinstance(layer, BY_CONTENT):
        return "it reads the places of tokens, and those that stay are in the order of their scores"
    if isinstance(layer, ConvNNAttention) and (layer.coordinate_encoding or layer.search.sampling_type == "spatial"):
        return "coordinate_encoding and spatial samples read the places of tokens"
    if isinstance(layer, ConvNNAttention) and not layer.softmax_topk_val:
        return "with softmax_topk_val=False it weighs by scores, which may be negative"
    return None


def attend(layer: Any, x: Tensor, log_scales: Tensor | None = None) -> Tensor:
    """Return the layer of x (B, T, D), with log_scales (B, T) added to the scores of the keys of dense attention."""
    if log_scales is None:
        return layer(x)
    bias = log_scales[:, None, None].to(x.dtype)
    if _is_timms(layer):
        return layer(x, attn_mask=bias)
    queries, keys, values = layer.project(x)
    dropout = layer.attention_dropout if layer.training else 0.0
    heads = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.to(values.dtype), dropout_p=dropout)
    return layer.output(heads.transpose(1, 2).flatten(2))


def attend_and_tell(
    layer: Any, x: Tensor, log_scales: Tensor | None = None, sparsity: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the layer of x (B, T, D) and its attention (B, H, T, T), dense attention after `without_small`."""
    if not is_dense(layer):
        with torch.no_grad():
            weights = _as_matrix(layer, x)
        return layer(x), weights
    queries, keys, values = _project(layer, x)
    scores = queries * queries.shape[-1] ** -0.5 @ keys.mT
    if log_scales is not None:
        scores = scores + log_scales[:, None, None].to(scores.dtype)
    weights = without_small(scores.softmax(-1), sparsity)
    return _output(layer, _dropped(layer, weights).to(values.dtype) @ values, x), weights


def _is_timms(layer: nn.Module) -> bool:
    return type(layer).__name__ == "Attention" and type(layer).__module__.startswith("timm.")


def _project(layer: Any, x: Tensor) -> tuple[Tensor, ...]:
    if not _is_timms(layer):
        return layer.project(x)
    queries, keys, values = layer.qkv(x).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    return layer.q_norm(queries), layer.k_norm(keys), values


def _dropped(layer: Any, weights: Tensor) -> Tensor:
    if _is_timms(layer):
        return layer.attn_drop(weights)
    return F.dropout(weights, layer.attention_dropout, layer.training)


def _output(layer: Any, heads: Tensor, x: Tensor) -> Tensor:
    """Return the output of heads (B, H, T, d), in timm's after a norm and a gate if it has them."""
    heads = heads.transpose(1, 2).flatten(2)
    if not _is_timms(layer):
        return layer.output(heads)
    heads = layer.norm(heads) if hasattr(layer, "norm") else heads
    gate = getattr(layer, "gate", None)
    return layer.proj_drop(layer.proj(heads if gate is None else heads * gate(x).sigmoid()))


def _as_matrix(layer: NeighborAttention, x: Tensor) -> Tensor:
    """Return the weights of all tokens, 0 where a token is not chosen, (B, H, T, T)."""
    indices, scores, _ = layer.neighbors(x)
    assert scores is not None
    length = x.shape[1]
    matrix = scores.new_zeros(*indices.shape[:2], length).scatter_add(2, indices, scores)
    return matrix.unflatten(0, (-1, layer.num_heads))
