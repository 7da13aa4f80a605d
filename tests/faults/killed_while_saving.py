"""SIGKILL at a random moment while checkpoints are written."""

import random
import re
import time
from pathlib import Path

import torch

from convnn.data import load_data
from convnn.errors import InputError
from convnn.models import create_model
from convnn.train import RunFolder, RunState, TrainConfig, read_checkpoint, summarize
from faults.outcome import Outcome
from launch import start, wait, wait_for

LONGEST_DELAY = 0.03  # seconds: a save takes about ten milliseconds


def save_forever(folder: str, version: int) -> int:
    """Write checkpoints that contain their own number."""
    config = TrainConfig(dataset="digits", model="resnet18", width=1 / 16, K=4, output_dir=folder, resume="auto")
    data = load_data("digits")
    network = create_model(config.model, config.layer, in_channels=1, width=config.width, **config.settings)
    run_folder = RunFolder(config, network, data, summarize(network, data.input_shape))
    run_folder.on_start([])
    while True:
        version += 1
        print("saving", version, flush=True)
        run = RunState({"x/version": torch.full((1 << 18,), version)}, {"version": version, "results": []})
        run_folder.on_checkpoint(network.state_dict(), run)
        print("saved", version, flush=True)


def run(times: int, folder: Path) -> Outcome:
    """Kill the process `times` times, always in the same folder."""
    outcome, moments = Outcome("SIGKILL while saving"), random.Random(0)
    inside, newest = 0, 0
    for i in range(times):
        log = folder.parent / f"saves{i}.log"
        process = start(save_forever, str(folder), newest, log=log)
        wait_for(f"saving {newest + moments.randint(1, 4)}", log, process)
        time.sleep(moments.uniform(0, LONGEST_DELAY))
        process.kill()
        wait(process)
        said = re.findall(r"(saving|saved) (\d+)\n", log.read_text())
        inside += said[-1][0] == "saving"
        saved = max([int(number) for word, number in said if word == "saved"], default=newest)
        newest, complaint = newest_version(folder)
        outcome.tried += 1
        outcome.check(not complaint and saved <= newest <= saved + 1, f"kill {i}: {complaint} {newest} after {saved}")
    litter = list(folder.glob(".*.part"))
    outcome.check(len(litter) <= 1, f"{len(litter)} unfinished files are left")
    outcome.notes = f"{inside} of the kills hit a save; never more than one save old; no partial file under a name"
    return outcome


def newest_version(folder: Path) -> tuple[int, str]:
    """Return the number of the newest checkpoint, and a complaint if any finished file is incomplete."""
    versions, complaint = [0], ""
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            try:
                checkpoint = read_checkpoint(path)
                assert checkpoint.run is not None
                version = checkpoint.run.document["version"]
                whole = bool((checkpoint.run.tensors["x/version"] == version).all())
                versions.append(version)
                complaint = complaint if whole else f"{path.name} is mixed"
            except InputError as error:
                complaint = str(error)
    return max(versions), complaint
