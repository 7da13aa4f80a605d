"""Our caches in the attention layers of models of Hugging Face transformers."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from convnn.errors import InputError, UnsupportedError
from convnn.nn.tokens.caches.cache import EvictingCache, KeyValueCache

NAME = "convnn_caches"
"""What our attention is called in the configuration of a model."""

_layers: "weakref.WeakKeyDictionary[nn.Module, PolicyLayer]" = weakref.WeakKeyDictionary()
"""The cache of each attention layer, since transformers does not hand a cache to the attention function."""


class PolicyLayer(CacheLayerMixin):
    """The cache of one layer, in the interface of transformers, which knows keys and values but no queries.

    `update` passes on what is new; the attention function, which has the queries, does the rest.
    """

    is_sliding = False
    cache: KeyValueCache | None = None

    def __init__(self, make: Callable[[], KeyValueCache]) -> None:
        super().__init__()
        self.make = make
        self.is_open = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the prompt initialises the cache."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the new keys and values alone."""
        if not self.is_open:
            raise InputError("the cache was made for a model that no longer attends to it; stay inside `attached`")
        self.is_initialized = True
        return key_states, value_states

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float, prompt: Callable[[], Any]) -> Any:
        """Return the attention (B, M, H, D) of a prompt, which it takes in, or of one more token."""
        if self.cache is not None:
            if queries.shape[2] != 1:
                raise UnsupportedError(
                    f"{queries.shape[2]} tokens after the prompt must come one by one, as `generate` gives them"
                )
            return self.cache.step(queries, keys, values).transpose(1, 2).contiguous()
        output, present = prompt()
        self.cache = self.make()
        if isinstance(self.cache, EvictingCache) and keys.shape[2] <= self.cache.budget:
            self.cache = KeyValueCache()
        self.cache.prefill(keys, values, queries, present=present, scale=scale)
        return output

    def get_seq_length(self) -> int:
        """Return the number of tokens so far, of which the positions follow."""
        return 0 if self.cache is None else self.cache.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of the whole text, and 0: the mask says which tokens of a prompt are padding."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """Return -1: there is no maximum."""
        return -1

    def reset(self) -> None:
        """Forget everything."""
        self.cache, self.is_initialized = None, False

    def batch_select_indices(self, indices: Tensor) -> None:
        """Continue with some rows of the batch."""
        if self.cache is not None:
            self.cache.reorder(indices.to(self.cache.keys.device))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Continue with the beams that were chosen."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Continue with several copies of each row."""
        if self.cache is not None:
            rows = torch.arange(self.cache.keys.shape[0], device=self.cache.keys.device)
            self.cache.reorder(rows.repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: what was dropped cannot come back.

        Raises:
            UnsupportedError: always, unless nothing is to be removed.
        """
        if tokens_to_remove:
            raise UnsupportedError(f"tokens_to_remove={tokens_to_remove} must be 0: a policy does not take steps back")


class PolicyCache(Cache):
    """A cache of transformers with one of ours in each layer; see `attached`."""

    def __init__(self, make: Callable[[], KeyValueCache], count: int) -> None:
        self.policies = [PolicyLayer(make) for _ in range(count)]
        super().__init__(layers=[*self.policies])

    @property
    def of_layers(self) -> list[KeyValueCache]:
        """The caches of the layers, after the prompt."""
        return [layer.cache for layer in self.policies if layer.cache is not None]


@contextmanager
def attached(model: PreTrainedModel, make: Callable[[], KeyValueCache]) -> Iterator[PolicyCache]:
    """Let a model attend to a new cache; see `convnn.nn.tokens.caches.attached`."""
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or config.is_encoder_decoder:
        raise UnsupportedError(f"{type(model).__name__} has layers of {sorted(kinds)}, and a cache only full attention")
    parts = [part for part in model.modules() if isinstance(getattr(part, "layer_idx", None), int)]
    cache = PolicyCache(make, config.num_hidden_layers)
    before = model.config._attn_implementation
    if before == NAME:
        raise InputError(f"{type(model).__name__} has a cache attached already; leave its `with` first")
    model.set_attn_implementation(NAME)
    try:
        _layers.update({part: cache.policies[part.layer_idx] for part in parts})  # type: ignore[index]
        yield cache
    finally:
        model.set_attn_implementation(before)
        for part in parts:
            del _layers[part]
        for layer in cache.policies:
            layer.is_open = False


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers does to a prompt, and to the cache of the layer afterwards."""
    for name in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if others.get(name) is not None:
            raise UnsupportedError(
                f"{name}={others[name]} of {type(module).__name__} is not in the attention to a cache"
            )
    layer = _layers[module]

    def of_prompt() -> tuple[Tensor, Tensor | None]:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return output, None if attention_mask is None else attention_mask[:, 0, -1]

    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return layer.attend(query, key, value, scale, of_prompt), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
