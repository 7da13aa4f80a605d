"""SIGKILL at random moments of training; the same command is repeated until the run is done."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.digest import run_digest
from faults.outcome import Outcome
from faults.runs import VARIANTS, flags, make_images
from launch import start, train, wait

MOST_KILLS = 3
AT_ONCE = 2
EVERY = ("1", "2", "5", "15m")


def run(times: int, folder: Path, workers: int) -> Outcome:
    """Disturb `times` runs, and compare each with an undisturbed one."""
    images = make_images(folder / "images")
    undisturbed = [whole(images, folder / f"whole{v}_{workers}", v, workers) for v in range(min(times, len(VARIANTS)))]
    outcome = Outcome(f"SIGKILL while training, {workers} loader workers")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(disturbed, i, images, folder / f"{i}_{workers}", workers, undisturbed[i % len(VARIANTS)][1])
            for i in range(times)
        ]
    kills = 0
    for i, job in enumerate(jobs):
        digest, number = job.result()
        kills += number
        outcome.tried += 1
        outcome.check(digest == undisturbed[i % len(VARIANTS)][0], f"run {i}, killed {number} times, ends otherwise")
    outcome.notes = f"{kills} kills; SHA-256 of weights, optimizer, generators and metrics.csv equal"
    return outcome


def whole(images: Path, output: Path, variant: int, workers: int) -> tuple[str, float]:
    """Return the digest of an undisturbed run and its duration in seconds."""
    begin = time.monotonic()
    log = output.with_suffix(".log")
    status = wait(start(train, flags(images, output, variant, workers), log=log))
    if status:
        raise RuntimeError(log.read_text())
    return run_digest(output), time.monotonic() - begin


def disturbed(i: int, images: Path, output: Path, workers: int, seconds: float) -> tuple[str, int]:
    """Return the digest of a run that was killed up to three times, and the number of kills."""
    moments, kills, log = random.Random(i), 0, output.with_suffix(".log")
    argv = flags(images, output, i % len(VARIANTS), workers, f"--checkpoint_every {moments.choice(EVERY)}")
    for _ in range(moments.randint(1, MOST_KILLS)):
        process = start(train, argv, log=log)
        time.sleep(moments.uniform(0.1, 1.0) * seconds)
        process.kill()
        kills += wait(process) != 0
    if wait(start(train, argv, log=log)):
        raise RuntimeError(log.read_text())
    return run_digest(output), kills
