"""Caches of keys and values: which tokens of a text stay, and which of them each next token reads."""

from convnn.nn.tokens.caches.cache import EvictingCache, KeyValueCache
from convnn.nn.tokens.caches.clustered import ClusteredCache
from convnn.nn.tokens.caches.evicting import GraphKVCache, RandomCache, SinkCache, SnapKVCache
from convnn.nn.tokens.caches.generation import attached, record
from convnn.nn.tokens.caches.importance import Decayed, decay_neighbors, window_importance
from convnn.nn.tokens.caches.measures import CacheFigures, RecordingCache, Trace, attention_mass, measure

__all__ = [
    "CacheFigures",
    "ClusteredCache",
    "Decayed",
    "EvictingCache",
    "GraphKVCache",
    "KeyValueCache",
    "RandomCache",
    "RecordingCache",
    "SinkCache",
    "SnapKVCache",
    "Trace",
    "attached",
    "attention_mass",
    "decay_neighbors",
    "measure",
    "record",
    "window_importance",
]
