"""Scans: means of all tokens that decay with the distance, and a state into which every token writes."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.bench.task import Function, Setting, Task
from convnn.bench.tasks._draws import rows
from convnn.ops import scan

VALUES = ("normal", "negative", "tiny", "zeros")
DTYPES = (torch.float32, torch.float64, torch.float16)


def bi_wkv(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> Tensor:
    """Return the mean of all values in each channel, weighted by a softmax of keys less decays, pair by pair."""
    place = torch.arange(key.shape[1])
    between = ((place[:, None] - place).abs() - 1).clamp_min(0)
    own = torch.eye(key.shape[1], dtype=key.dtype)
    logits = key[:, None] - between[..., None] * decay + own[..., None] * first
    return (logits.softmax(2) * value[:, None]).sum(2)


def delta_rule(
    r: Tensor, k: Tensor, v: Tensor, gate: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what each token reads, and the last state, which keeps the share sigmoid(-gate), token by token."""
    read = []
    for t in range(r.shape[2]):
        lost = (state @ a[:, :, t, :, None]) * b[:, :, t, None]
        state = state * torch.sigmoid(-gate[:, :, t, None]) + lost + v[:, :, t, :, None] * k[:, :, t, None]
        read.append((state @ r[:, :, t, :, None]).squeeze(-1))
    return torch.stack(read, 2), state


def _tokens(generator: torch.Generator, setting: Setting) -> list[Any]:
    batch, length, channels = (setting[name] for name in ("batch", "length", "channels"))
    key, value = (rows(generator, batch, length, channels) for _ in range(2))
    decay = rows(generator, channels).abs() / length  # as in Vision-RWKV
    return [key, value, decay, rows(generator, channels)]


def _writes(generator: torch.Generator, setting: Setting) -> list[Any]:
    shape, keys, values = (setting["batch"], 2, setting["length"]), setting["keys"], setting["values"]
    r, k, gate, a, b = (rows(generator, *shape, keys) for _ in range(5))
    short = 0.5 * keys**-0.5  # of a and b, so that states do not grow
    return [
        r,
        k,
        rows(generator, *shape, values),
        gate,
        short * a,
        short * b,
        rows(generator, *shape[:2], values, keys),
    ]


def _bi_wkv(backend: str) -> Function:
    def kernel(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> Tensor:
        return scan.bi_wkv(key, value, decay, first, backend=backend)

    return kernel


def _delta_rule(backend: str) -> Function:
    def kernel(
        r: Tensor, k: Tensor, v: Tensor, gate: Tensor, a: Tensor, b: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        return scan.delta_rule(r, k, v, -F.softplus(gate), a, b, state, backend=backend)

    return kernel


TASKS = [
    Task(
        "scan.bi_wkv",
        bi_wkv,
        _tokens,
        [
            {"batch": 2, "length": 5, "channels": 3},
            {"batch": 3, "length": 33, "channels": 17},
            {"batch": 1, "length": 64, "channels": 64},
        ],
        VALUES,
        DTYPES,
        parameters=(2, 3),
        ours=_bi_wkv,
    ),
    Task(
        "scan.delta_rule",
        delta_rule,
        _writes,
        [
            {"batch": 2, "length": 3, "keys": 3, "values": 5},
            {"batch": 3, "length": 17, "keys": 16, "values": 4},
            {"batch": 1, "length": 33, "keys": 17, "values": 33},
        ],
        VALUES,
        DTYPES,
        ours=_delta_rule,
    ),
]
