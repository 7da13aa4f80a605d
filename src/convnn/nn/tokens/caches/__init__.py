"""Caches of keys and values: which tokens of a text stay, and which of them each next token reads."""

from convnn.nn.tokens.caches.cache import EvictingCache, KeyValueCache
from convnn.nn.tokens.caches.clustered import ClusteredCache
from convnn.nn.tokens.caches.evicting import GraphKVCache, RandomCache, SinkCache, SnapKVCache
from convnn.nn.tokens.caches.importance import Decayed, decay_neighbors, window_importance

__all__ = [
    "ClusteredCache",
    "Decayed",
    "EvictingCache",
    "GraphKVCache",
    "KeyValueCache",
    "RandomCache",
    "SinkCache",
    "SnapKVCache",
    "decay_neighbors",
    "window_importance",
]
