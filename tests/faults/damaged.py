"""Checkpoints that are truncated or have a flipped bit."""

import random
import shutil
from pathlib import Path

from convnn.errors import InputError
from convnn.train import find_resume_point
from faults.killed_while_training import whole
from faults.outcome import Outcome
from faults.runs import make_images


def run(times: int, folder: Path) -> Outcome:
    """Damage the newest checkpoint `times` times, alternating both ways; the previous one must be used and named."""
    output = folder / "run"
    whole(make_images(folder / "images"), output, 0, 0)
    last = output / "last.safetensors"
    content, moments = last.read_bytes(), random.Random(0)
    outcome = Outcome("truncation and single bit flips")
    for i in range(times):
        damaged = cut(content, moments) if i % 2 else flip(content, moments)
        last.write_bytes(damaged)
        lines: list[str] = []
        point = find_resume_point({"resume": str(output)}, warn=lines.append)
        outcome.tried += 1
        is_previous = point is not None and point.path.name == "previous.safetensors"
        is_reported = len(lines) == 1 and str(last) in lines[0] and lines[0].endswith("from previous.safetensors")
        outcome.check(is_previous and is_reported, f"damage {i}: {point and point.path} {lines}")
    shutil.copy(last, output / "previous.safetensors")
    try:
        find_resume_point({"resume": str(output)}, warn=lines.append)
        outcome.failures.append("two damaged checkpoints are taken")
    except InputError:
        outcome.notes = "the previous one is used and the damage named; with both damaged the run is refused"
    return outcome


def cut(content: bytes, moments: random.Random) -> bytes:
    return content[: moments.randrange(len(content))]


def flip(content: bytes, moments: random.Random) -> bytes:
    bit = moments.randrange(8 * len(content))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
