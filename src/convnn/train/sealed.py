"""Tensors and a JSON document in one safetensors file that contains its own digest; reading executes no code.

The file is an ordinary safetensors file. Its metadata hold the SHA-256 of all of its bytes, with the digest itself
taken as zeros, because neither safetensors nor torch.load notices a flipped bit.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from convnn.errors import InputError, is_out_of_memory
from convnn.files import write_atomically
from convnn.words import counted

METADATA_KEY = "convnn"
NO_DIGEST = "0" * 64
LARGEST_HEADER = 1 << 25
"""Bytes; a run writes about a hundred thousand, and JSON takes thirty times its size in memory."""

_DIGEST = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')  # JSON inside JSON
_CHUNK = 1 << 20


def write_sealed(
    path: Path, tensors: dict[str, Tensor], document: dict[str, Any], *, old_to: Path | None = None
) -> None:
    """Write a file atomically: it is complete or absent.

    Args:
        path: the file.
        tensors: its tensors, by name.
        document: its other contents, as JSON values.
        old_to: new name of the file that is now at `path`.

    Raises:
        OutputError: the file cannot be written.
    """
    metadata = {METADATA_KEY: json.dumps({"sha256": NO_DIGEST} | document)}
    raw = memoryview(save(_apart(tensors), metadata))
    found = _DIGEST.search(raw[: 8 + _header_size(raw[:8])])
    if found is None:
        raise RuntimeError("safetensors has changed how it writes metadata")
    start, end = found.span(1)
    digest = hashlib.sha256(raw).hexdigest()
    write_atomically(path, raw[:start], digest, raw[end:], old_to=old_to)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU of which no two share memory, as layers with one kernel do."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        apart[name] = own.clone() if place in seen else own
        seen.add(place)
    return apart


def read_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the document of a file and verify that every byte is as it was written.

    Raises:
        InputError: the file is missing, truncated, changed or not written by this package.
    """
    if not path.is_file():
        raise InputError(f"checkpoint '{path}' is not a file; give one such as best.safetensors of a run")
    try:
        with path.open("rb") as file:
            _verify(file, path)
        with safe_open(path, "pt") as opened:
            document = json.loads((opened.metadata() or {}).get(METADATA_KEY, "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"checkpoint '{path}' cannot be read: {reason[0]:.200}") from None
    if not isinstance(document, dict):
        raise InputError(f"checkpoint '{path}' was not written by convnn: it does not say which network it holds")
    return tensors, document


def _verify(file: BinaryIO, path: Path) -> None:
    size = path.stat().st_size
    prefix = file.read(8)
    header_size = _header_size(prefix)
    if len(prefix) < 8 or header_size > min(size - 8, LARGEST_HEADER):
        raise InputError(
            f"checkpoint '{path}' is truncated or not a safetensors file: its header does not fit its"
            f" {counted(size, 'byte')}"
        )
    header = file.read(header_size)
    found = _DIGEST.search(header)
    if found is None:
        raise InputError(f"checkpoint '{path}' was not written by convnn: it does not say which network it holds")
    start, end = found.span(1)
    digest = hashlib.sha256(prefix + header[:start] + NO_DIGEST.encode() + header[end:])
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != found[1].decode():
        raise InputError(f"checkpoint '{path}' is damaged: its {counted(size, 'byte')} differ from what was written")


def _header_size(prefix: bytes | memoryview) -> int:
    return int.from_bytes(prefix[:8], "little")
