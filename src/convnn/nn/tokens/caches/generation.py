"""Generation with our caches by the models of Hugging Face transformers, which is imported when it is used."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from convnn.nn.tokens.caches.cache import KeyValueCache
from convnn.nn.tokens.caches.measures import RecordingCache, Trace
from convnn.packages import need

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from convnn.nn.tokens.caches._transformers import PolicyCache


def attached(model: "PreTrainedModel", make: Callable[[], KeyValueCache]) -> "AbstractContextManager[PolicyCache]":
    """Return a context in which a model attends to a new cache, with one of ours in each attention layer.

    The model computes a prompt with all of its tokens, and then each next token with what the caches hold and fetch. Of
    a prompt that is no longer than the budget nothing is dropped. Batches may be padded on the left, and beams are
    reordered.

        with attached(model, partial(SnapKVCache, 64)) as cache:
            model.generate(ids, cache=cache, max_new_tokens=20)

    Args:
        model: a decoder whose layers all have full attention, in the interface of transformers for attention functions,
            such as Llama, Qwen or SmolLM.
        make: makes the cache of a layer, such as `partial(SnapKVCache, 64)`.

    Returns:
        A context manager, whose `PolicyCache` the model takes as its argument `cache`; `cache.of_layers` are ours. It
        takes one prompt; `cache.reset()` makes it new.

    Raises:
        InputError: transformers is not installed, or the model has a cache attached already; while generating: a cache
            refuses the prompt, or the context has been left.
        UnsupportedError: on entering, or while generating: the model attends in another way, such as to a window, or
            several tokens come at once after the prompt, as in assisted generation.
    """
    need("transformers", "convnn.nn.tokens.caches.attached", "caches")
    from convnn.nn.tokens.caches import _transformers

    return _transformers.attached(model, make)


def record(model: "PreTrainedModel", input_ids: Tensor, **settings: Any) -> tuple[Tensor, list[Trace]]:
    """Generate with everything in the cache, and return queries, keys and values of each layer, for `measure`.

    Args:
        model: as for `attached`.
        input_ids: (B, T), the prompts.
        settings: of `model.generate`, such as `max_new_tokens` and `attention_mask`; without beams.

    Returns:
        The text with what was generated, (B, T'), and the trace of each layer.

    Raises:
        InputError, UnsupportedError: as `attached`.
    """
    with attached(model, RecordingCache) as cache:
        text = model.generate(input_ids, cache=cache, **settings)  # type: ignore[operator]
    return text, [one.trace for one in cache.of_layers if isinstance(one, RecordingCache)]
