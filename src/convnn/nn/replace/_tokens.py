"""Replacement of self-attention by a layer on tokens."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, UnsupportedError
from convnn.nn.registry import entry_for
from convnn.nn.tokens._layer import NeighborAttention
from convnn.nn.tokens.convnn import ConvNNAttention


class SelfAttention(nn.Module):
    """A layer on tokens with the call signature of the attention that it replaces.

    Attributes:
        layer: the layer on tokens (B, T, D).
        batch_first: whether sequences are (B, T, D), as in `torch.nn.MultiheadAttention`; (T, B, D) otherwise.
    """

    # torch's encoder reads these to decide on its fast path, which bypasses the attention; these values disable it.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, layer: nn.Module, num_heads: int, batch_first: bool = True) -> None:
        super().__init__()
        self.layer = layer
        self.batch_first = batch_first
        self.num_heads = num_heads

    def attend(self, x: Tensor, masks: dict[str, Any]) -> Tensor:
        """Apply the layer to x.

        Raises:
            UnsupportedError: there is a mask.
        """
        for name, mask in masks.items():
            if mask is not None and mask is not False:
                raise UnsupportedError(f"{name} is not supported by {type(self.layer).__name__}; leave it out")
        if self.batch_first or x.dim() == 2:
            return self.layer(x)
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


class TorchSelfAttention(SelfAttention):
    """A layer on tokens with the call signature of `torch.nn.MultiheadAttention`."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Return self-attention and None: the weights are never computed as a matrix.

        Raises:
            UnsupportedError: there is a mask, or query, key and value are not the same tensor.
        """
        if query is not key or key is not value:
            raise UnsupportedError(f"{type(self.layer).__name__} attends to its own tokens; query, key, value differ")
        masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "is_causal": is_causal}
        return self.attend(query, masks), None


class TimmSelfAttention(SelfAttention):
    """A layer on tokens with the call signature of `timm.layers.Attention`."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Apply self-attention.

        Raises:
            UnsupportedError: there is a mask.
        """
        return self.attend(x, {"attn_mask": attn_mask, "is_causal": is_causal})


def is_attention(module: nn.Module) -> bool:
    """Whether a module is self-attention of torch or of timm's vision transformers."""
    return type(module) is nn.MultiheadAttention or _is_timm_attention(module)


def _is_timm_attention(module: nn.Module) -> bool:
    """Return whether a module is timm's attention, by its name and parts, because timm may not be installed."""
    kind = type(module)
    has_parts = isinstance(getattr(module, "qkv", None), nn.Linear) and isinstance(
        getattr(module, "proj", None), nn.Linear
    )
    return kind.__name__ == "Attention" and kind.__module__.startswith("timm.") and has_parts


def in_place_of(attention: Any, layer: str, settings: dict[str, Any], *, keep_weights: bool = False) -> SelfAttention:
    """Create a layer on tokens with the same width, heads, bias and call signature.

    Raises:
        InputError: a setting is wrong, or the weights do not fit.
        UnsupportedError: weights are to be kept that the layer does not have.
    """
    is_torch = isinstance(attention, nn.MultiheadAttention)
    output, heads = attention.out_proj if is_torch else attention.proj, attention.num_heads
    build = entry_for(layer, "tokens").build
    if "bias" in inspect.signature(build).parameters:
        has_bias = output.bias is not None or _inner_bias(attention) is not None
        settings = settings | {"bias": has_bias}
    new = build(len(output.weight), heads, **settings).to(output.weight.device, output.weight.dtype)
    if keep_weights:
        take_weights(new, attention)
    wrapped = TorchSelfAttention(new, heads, attention.batch_first) if is_torch else TimmSelfAttention(new, heads)
    return wrapped.train(attention.training)


def take_weights(layer: nn.Module, attention: Any) -> None:
    """Copy the projections of queries, keys, values and output; the outputs of `Attention` are then unchanged.

    Raises:
        InputError: the weights have another shape there.
        UnsupportedError: one of the two has weights that the other does not have.
    """
    if not isinstance(layer, NeighborAttention):
        raise UnsupportedError(
            f"keep_weights=True needs the projections of attention, which {type(layer).__name__} does not have; use"
            " Attention or ConvNNAttention"
        )
    is_torch = isinstance(attention, nn.MultiheadAttention)
    known = ("in_proj_weight", "in_proj_bias", "out_proj.") if is_torch else ("qkv.", "proj.")
    others = [name for name, _ in attention.named_parameters() if not name.startswith(known)]
    if others or (is_torch and attention.add_zero_attn):
        what = f"the weight {others[0]}" if others else "a zero among its tokens"
        raise UnsupportedError(f"keep_weights=True: the old attention has {what}, which {type(layer).__name__} has not")
    inner, output = (attention, attention.out_proj) if is_torch else (attention.qkv, attention.proj)
    weight = inner.in_proj_weight if is_torch else inner.weight
    bias = _inner_bias(attention)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    # In ConvNN attention, as published, the key projection makes the queries of the search, and vice versa.
    query, key = (layer.key, layer.query) if isinstance(layer, ConvNNAttention) else (layer.query, layer.key)
    linears = zip((query, key, layer.value), weight.chunk(3), biases, strict=True)
    for linear, its_weight, its_bias in (*linears, (layer.output, output.weight, output.bias)):
        _copy(linear, its_weight, its_bias)


def _inner_bias(attention: Any) -> Tensor | None:
    """Return the bias of queries, keys and values, (3 D,)."""
    return attention.in_proj_bias if isinstance(attention, nn.MultiheadAttention) else attention.qkv.bias


def _copy(linear: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    if linear.weight.shape != weight.shape:
        raise InputError(
            f"keep_weights=True needs projections of shape {tuple(weight.shape)}, and the new layer's have"
            f" {tuple(linear.weight.shape)}; leave out what changes the width of its heads"
        )
    with torch.no_grad():
        linear.weight.copy_(weight)
        if linear.bias is not None:
            linear.bias.zero_() if bias is None else linear.bias.copy_(bias)
