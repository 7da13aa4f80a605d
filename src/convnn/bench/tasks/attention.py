"""Attention to the blocks of keys that a block of queries opens."""

from typing import Any

import torch
from torch import Tensor

from convnn.bench.task import Function, Setting, Task
from convnn.bench.tasks._draws import rows
from convnn.ops import blocks


def attend(queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, block: tuple[int, int]) -> Tensor:
    """Return the softmax of the scaled products over the open keys, times the values."""
    opened = is_open.repeat_interleave(block[0], 1)[:, : queries.shape[1]]
    opened = opened.repeat_interleave(block[1], 2)[:, :, : keys.shape[1]]
    scores = queries @ keys.mT / queries.shape[2] ** 0.5
    return scores.masked_fill(~opened, -torch.inf).softmax(-1) @ values


def _inputs(generator: torch.Generator, setting: Setting) -> list[Any]:
    batch, count, length, channels, block = (
        setting[name] for name in ("batch", "queries", "keys", "channels", "block")
    )
    queries, keys = rows(generator, batch, count, channels), rows(generator, batch, length, channels)
    values = rows(generator, batch, length, setting["of_values"])
    is_open = torch.rand(batch, -(-count // block[0]), -(-length // block[1]), generator=generator) < 0.5
    is_open[:, :, 0] |= ~is_open.any(2)
    return [queries, keys, values, is_open, block]


def _attend(backend: str) -> Function:
    def kernel(queries: Tensor, keys: Tensor, values: Tensor, is_open: Tensor, block: tuple[int, int]) -> Tensor:
        return blocks.attend(queries, keys, values, is_open, block, backend=backend)

    return kernel


TASKS = [
    Task(
        "blocks.attend",
        attend,
        _inputs,
        [
            {"batch": 2, "queries": 17, "keys": 33, "channels": 8, "of_values": 5, "block": (16, 16)},
            {"batch": 3, "queries": 5, "keys": 7, "channels": 16, "of_values": 16, "block": (3, 2)},
            {"batch": 1, "queries": 64, "keys": 64, "channels": 32, "of_values": 32, "block": (16, 32)},
        ],
        ("normal", "negative", "tiny", "zeros", "whole"),
        (torch.float32, torch.float64, torch.float16),
        ours=_attend,
    )
]
