"""The operators as Triton kernels for CUDA devices: fused, tiled and deterministic.

Kernels are imported when first called, so that importing this package needs neither Triton nor a GPU.
"""

import os
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from convnn.backends.request import Request
from convnn.words import counted

INTERPRETS = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, also on CPU tensors; Triton decides this when they are defined."""

DTYPES: tuple[torch.dtype, ...] = (torch.float16, torch.bfloat16, torch.float32)
if INTERPRETS:
    DTYPES = (torch.float16, torch.float32)  # the interpreter multiplies the bits of bfloat16 matrices as integers

MAX_HEAD = 256
"""The largest width of queries, keys and values that attention keeps in registers."""

MAX_STATE = 128
"""The largest side of the state of the delta rule, which a program keeps in registers."""

_MODULE_OF = {
    "nearest": "select",
    "nearest_in_lists": "lists",
    "attend_to_blocks": "blocks",
    "attend_to_blocks_backward": "blocks",
    "attend": "flash",
    "attend_backward": "flash",
    "attend_linearly": "linear",
    "attend_linearly_backward": "linear",
    "one_of_each": "choose",
    "largest": "maximum",
    "similarity": "weigh",
    "similarity_backward": "weigh",
    "convolve": "aggregate",
    "convolve_backward": "aggregate",
    "gather_rows": "gather",
    "bi_wkv": "scan",
    "bi_wkv_backward": "scan",
    "delta_rule": "scan",
    "delta_rule_backward": "scan",
}

_IN_HEADS = ("attend_to_blocks", "attend", "attend_linearly")
_ALSO_DOUBLE = ("attend", "attend_linearly")  # in the interpreter, to be compared to the last digits

_MADE_OF_OTHERS = ("nearest_in_clusters",)

__all__ = ["unavailable_reasons", "unsupported_reasons", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import the kernels of an operator on first access and return it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = function
    return function


def unavailable_reasons() -> list[str]:
    """Return the reasons why this backend cannot run here."""
    return list(_unavailable_reasons())


def unsupported_reasons(request: Request) -> list[str]:
    """Return the reasons why this backend cannot compute the request."""
    reasons = unavailable_reasons()
    if request.device.type != "cuda" and not (INTERPRETS and request.device.type == "cpu"):
        reasons.append(f"device must be cuda, or cpu under TRITON_INTERPRET=1, not {request.device.type}")
    if request.dtype not in DTYPES and not (
        INTERPRETS and request.dtype == torch.float64 and request.operator in _ALSO_DOUBLE
    ):
        names = ", ".join(_name(dtype) for dtype in DTYPES)
        reasons.append(f"dtype must be one of {names}, not {_name(request.dtype)}")
    if request.operator not in _MODULE_OF and request.operator not in _MADE_OF_OTHERS:
        reasons.append(f"there is no kernel for {request.operator}")
    if request.operator in _IN_HEADS and request.channels > MAX_HEAD:
        reasons.append(f"heads must have at most {MAX_HEAD} channels, not {request.channels}")
    if request.operator == "delta_rule" and request.channels > MAX_STATE:
        reasons.append(f"the state of a head must have sides of at most {MAX_STATE}, not {request.channels}")
    if request.groups not in (1, request.channels):
        reasons.append(f"groups must be 1 or the {counted(request.channels, 'channel')}, not {request.groups}")
    return reasons


@lru_cache(maxsize=1)
def _unavailable_reasons() -> tuple[str, ...]:
    reasons = []
    if find_spec("triton") is None:
        reasons.append("triton is not installed")
    if not INTERPRETS and not torch.cuda.is_available():
        reasons.append("there is no CUDA device")
    return tuple(reasons)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
