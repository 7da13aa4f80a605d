"""A layer on tokens in the place of self-attention."""

from typing import Any

from torch import Tensor, nn

from convnn.errors import UnsupportedError
from convnn.nn.registry import layer_factory


class SelfAttention(nn.Module):
    """A layer on tokens that is called as the attention was whose place it takes.

    Attributes:
        layer: what computes, on tokens (B, T, D).
        batch_first: whether sequences are (B, T, D), as in `torch.nn.MultiheadAttention`; (T, B, D) otherwise.
    """

    # What torch's encoder asks its attention before it takes a shortcut around it; so answered, it takes none.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, layer: nn.Module, num_heads: int, batch_first: bool = True) -> None:
        super().__init__()
        self.layer = layer
        self.batch_first = batch_first
        self.num_heads = num_heads

    def attend(self, x: Tensor, masks: dict[str, Any]) -> Tensor:
        """The layer on x.

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
    """Called as `torch.nn.MultiheadAttention`."""

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
        """Self-attention and None, for the weights are never there as a matrix.

        Raises:
            UnsupportedError: there is a mask, or query, key and value are not the same tensor.
        """
        if query is not key or key is not value:
            raise UnsupportedError(f"{type(self.layer).__name__} attends to its own tokens; query, key, value differ")
        masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "is_causal": is_causal}
        return self.attend(query, masks), None


class TimmSelfAttention(SelfAttention):
    """Called as `timm.layers.Attention`."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Self-attention.

        Raises:
            UnsupportedError: there is a mask.
        """
        return self.attend(x, {"attn_mask": attn_mask, "is_causal": is_causal})


def is_attention(module: nn.Module) -> bool:
    """Whether a module is self-attention of a kind that is known: that of torch or of timm's vision transformers."""
    return type(module) is nn.MultiheadAttention or _is_timm_attention(module)


def _is_timm_attention(module: nn.Module) -> bool:
    """By name and parts, so that timm need not be there."""
    kind = type(module)
    has_parts = isinstance(getattr(module, "qkv", None), nn.Linear) and isinstance(
        getattr(module, "proj", None), nn.Linear
    )
    return kind.__name__ == "Attention" and kind.__module__.startswith("timm.") and has_parts


def in_place_of(attention: Any, layer: str, settings: dict[str, Any]) -> SelfAttention:
    """A layer on tokens of the same width and heads, called the same way.

    Raises:
        InputError: a setting is wrong.
    """
    is_torch = isinstance(attention, nn.MultiheadAttention)
    weight = attention.out_proj.weight if is_torch else attention.proj.weight
    where = {"device": weight.device, "dtype": weight.dtype}
    new = layer_factory(layer, **settings)(len(weight), attention.num_heads, **where)
    heads = attention.num_heads
    wrapped = TorchSelfAttention(new, heads, attention.batch_first) if is_torch else TimmSelfAttention(new, heads)
    return wrapped.train(attention.training)
