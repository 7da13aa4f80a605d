"""Disks that are full or read-only, and folders that vanish."""

import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from faults.digest import run_digest
from faults.outcome import Outcome
from faults.runs import EPOCHS, flags, make_images
from launch import start, train, wait, wait_for

ROOT = Path(__file__).parents[2]
MORE = f"--num_epochs {EPOCHS + 2}"
VARIANT = 1  # its schedule does not depend on the number of epochs


def run(folder: Path, *names: str) -> Outcome:
    """Try each way once, or those named: the run ends with one sentence and status 2, and earlier files are intact."""
    images = make_images(folder / "images")
    outcome = Outcome("disk full, read-only folder, folder deleted")
    finished, log = folder / "finished", folder / "finished.log"
    if wait(start(train, flags(images, finished, VARIANT), log=log)):
        raise RuntimeError(log.read_text())
    before = run_digest(finished)
    for name, fault in FAULTS.items():
        if names and name not in names:
            continue
        output = folder / name
        shutil.copytree(finished, output)
        status, said = fault(images, output)
        outcome.tried += 1
        lines = [line for line in said.splitlines() if "main.py:" in line]
        outcome.check(status == 2 and len(lines) == 1, f"{name}: exit status {status}: {said[-500:]}")
        if name != "deleted":
            outcome.check(run_digest(output) == before, f"{name}: the checkpoint has changed")
            outcome.check(not list(output.glob(".*")), f"{name}: litter")
    outcome.notes = "exit status 2 and one sentence; the checkpoint before is intact; no litter"
    return outcome


def too_large(images: Path, output: Path) -> tuple[int, str]:
    """Train where no file may be as large as a checkpoint."""
    log = output.with_suffix(".full")
    limit = (output / "last.safetensors").stat().st_size // 2
    return wait(start(train_within, flags(images, output, VARIANT, more=MORE), limit, log=log)), log.read_text()


def train_within(argv: list[str], limit: int) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return train(argv)


def full(images: Path, output: Path) -> tuple[int, str]:
    """Train on a file system without room for another checkpoint."""
    size = sum(path.stat().st_size for path in output.iterdir()) + (96 << 10)
    return mounted(images, output, f"mount -t tmpfs -o size={size} none {output}")


def read_only(images: Path, output: Path) -> tuple[int, str]:
    """Train on a read-only file system."""
    return mounted(images, output, f"mount -t tmpfs none {output}", "mount -o remount,ro " + str(output))


def mounted(images: Path, output: Path, mount: str, then: str = "true") -> tuple[int, str]:
    """Train in a mount namespace with the folder on a separate file system, and copy the folder back."""
    copy = output.with_suffix(".copy")
    command = (
        f"cp -a {output} {copy} && {mount} && cp -a {copy}/. {output} && {then} && rm -rf {copy};"
        f' "$@"; status=$?; cp -a {output} {copy}; exit $status'
    )
    argv = [sys.executable, str(ROOT / "main.py"), *flags(images, output, VARIANT, more=MORE)]
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command, "sh", *argv], capture_output=True, text=True)
    shutil.rmtree(output)
    shutil.move(copy, output)
    return done.returncode, done.stderr


def deleted(images: Path, output: Path) -> tuple[int, str]:
    """Remove the folder while the run writes to it."""
    log = output.with_suffix(".deleted")
    process = start(train, flags(images, output, VARIANT, more=MORE), log=log)
    wait_for(f"epoch {EPOCHS + 1}/", log, process)
    while output.exists():  # the run keeps writing
        shutil.rmtree(output, ignore_errors=True)
    return wait(process), log.read_text()


def can_mount() -> bool:
    """Return whether this user may mount in a new namespace."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


FAULTS: dict[str, Callable[[Path, Path], tuple[int, str]]] = {"too_large": too_large, "deleted": deleted}
if can_mount():
    FAULTS |= {"full": full, "read_only": read_only}
