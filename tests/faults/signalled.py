"""SIGTERM and SIGINT in every phase of a run."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from convnn.train import read_checkpoint
from faults.digest import run_digest
from faults.killed_while_training import whole
from faults.outcome import Outcome
from faults.runs import EPOCHS, STEPS, flags, make_images
from launch import start, train, wait, wait_for

ROOT = Path(__file__).parents[2]
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
PHASES = ("start-up", "data wait", "training", "evaluation", "saving")
LONGEST_ANSWER = 10.0  # seconds; the stalled data wait takes a minute


def train_saying_where(argv: list[str], phase: str) -> int:
    """Train, slowed down in one phase, and print the phases."""
    from convnn.data import stream
    from convnn.train import trainer

    def announce(owner: Any, name: str, word: str, pause: float) -> None:
        original = getattr(owner, name)

        def announced(*args: Any, **kwargs: Any) -> Any:
            print(word, flush=True)
            time.sleep(pause if word == phase else 0)
            return original(*args, **kwargs)

        setattr(owner, name, announced)

    def note_steps(made: trainer.Trainer, batches: Any, original: Any = trainer.Trainer._train_group) -> None:
        try:
            original(made, batches)
        finally:
            print("done", (made.position.epoch - 1) * STEPS + made.position.step, flush=True)

    announce(trainer.Trainer, "_step", "training", 0.05)
    announce(trainer.Meter, "update", "evaluation", 0.02)
    announce(os, "fsync", "saving", 0.05)
    if phase == "data wait":
        announce(stream, "read_image", "data wait", 0.0)
        stall_after(stream, images=11)
    trainer.Trainer._train_group = note_steps
    return train(argv)


def stall_after(stream: Any, images: int) -> None:
    """Make reading hang, as a network drive does."""
    original, count = stream.read_image, [0]

    def read(*args: Any) -> Any:
        count[0] += 1
        if count[0] > images:
            print("stalled", flush=True)
            time.sleep(60)
        return original(*args)

    stream.read_image = read


def run(times: int, folder: Path) -> Outcome:
    """Send `times` signals: five hit each phase, with alternating signals; ten hit each phase with both."""
    images = make_images(folder / "images")
    undisturbed, _ = whole(images, folder / "whole", 0, 0)
    outcome = Outcome("SIGTERM and SIGINT in " + ", ".join(PHASES))
    slowest = 0.0
    for i in range(times):
        phase, number = PHASES[i % len(PHASES)], list(STATUS)[(i + i // len(PHASES)) % 2]
        output = folder / f"signal{i}"
        case = f"{number.name} in {phase} ({i})"
        status, seconds = (
            started(i, images, output, number) if phase == "start-up" else hit(i, images, output, number, phase)
        )
        slowest = max(slowest, seconds)
        outcome.tried += 1
        complaint = "" if status == STATUS[number] else f"exit status {status}"
        complaint = (
            complaint or is_old(output, output.with_suffix(".log")) or ("slow" if seconds > LONGEST_ANSWER else "")
        )
        if not complaint:
            argv = flags(images, output)
            complaint = "" if wait(start(train, argv, log=output.with_suffix(".again"))) == 0 else "does not go on"
        if not complaint and run_digest(output) != undisturbed:
            complaint = "ends otherwise when resumed"
        outcome.check(not complaint, f"{case}: {complaint}")
    outcome.notes = (
        f"exit status 143 or 130, checkpoint of the very step, answered within {slowest:.1f} s, resumed to the bit"
    )
    return outcome


def started(i: int, images: Path, output: Path, number: signal.Signals) -> tuple[int, float]:
    """Send a signal while Python still imports, reads data and builds."""
    argv = [sys.executable, str(ROOT / "main.py"), *flags(images, output)]
    with output.with_suffix(".out").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        time.sleep(random.Random(i).uniform(0.5, 4.0))
        begin = time.monotonic()
        process.send_signal(number)
        return process.wait(60), time.monotonic() - begin


def hit(i: int, images: Path, output: Path, number: signal.Signals, phase: str) -> tuple[int, float]:
    """Send a signal in a certain phase, at a random one of its occurrences."""
    moments, log = random.Random(i), output.with_suffix(".log")
    workers = 1 if phase == "data wait" else 0
    every = "--checkpoint_every 2" if phase == "saving" else ""
    process = start(train_saying_where, flags(images, output, workers=workers, more=every), phase, log=log)
    if phase == "data wait":
        wait_for("stalled", log, process)
    else:
        for _ in range(moments.randint(1, 2 * EPOCHS)):
            seen = log.read_text().count(phase) if log.exists() else 0
            wait_for_more(phase, seen, log, process)
    time.sleep(moments.uniform(0, 0.05))
    begin = time.monotonic()
    os.kill(process.pid or 0, number)
    return wait(process), time.monotonic() - begin


def wait_for_more(word: str, seen: int, log: Path, process: Any) -> None:
    """Wait until a word was printed more often than `seen`."""
    while process.is_alive() and (log.read_text() if log.exists() else "").count(word) <= seen:
        time.sleep(0.002)


def is_old(output: Path, log: Path) -> str:
    """Return what is wrong with the checkpoint, which must contain every finished step, or an empty string."""
    done = re.findall(r"done (\d+)\n", log.read_text()) if log.exists() else []
    if not done:
        return ""
    run = read_checkpoint(output / "last.safetensors").run
    assert run is not None
    position = run.document["position"]
    steps = (position["epoch"] - 1) * STEPS + position["step"]
    return "" if steps == int(done[-1]) else f"holds {steps} steps of {done[-1]}"
