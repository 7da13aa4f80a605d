"""A digest of the state of a run."""

import hashlib
import json
from pathlib import Path

from convnn.train import read_checkpoint

OUTCOME = ("optimizer", "schedule", "scaler", "random", "num_samples", "broken_images")


def run_digest(folder: Path) -> str:
    """Return the SHA-256 of a run: weights, optimizer, generators, schedule, position, results and metrics.csv.

    It contains no times or paths.
    """
    checkpoint = read_checkpoint(folder / "last.safetensors")
    assert checkpoint.run is not None
    digest = hashlib.sha256()
    for name, tensor in sorted((checkpoint.weights | checkpoint.run.tensors).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    document = checkpoint.run.document
    outcome = {key: document[key] for key in OUTCOME}
    outcome["position"] = [document["position"][key] for key in ("epoch", "step")]
    timeless = ("seconds", "images_per_second")
    outcome["results"] = [{k: v for k, v in result.items() if k not in timeless} for result in document["results"]]
    digest.update(json.dumps(outcome, sort_keys=True).encode())
    digest.update((folder / "metrics.csv").read_bytes())
    return digest.hexdigest()
