"""Whole sweeps of tiny runs: finished, killed and resumed, several at once, and with failing runs."""

import io
import os
import re
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from convnn.cli import command_parser, main
from convnn.cli.sweep import LiveTable, progress, resume_command
from convnn.errors import InputError
from convnn.study import read_study
from convnn.study.definition import PlannedRun
from convnn.study.device import Device, find_devices
from convnn.study.queue import Queue
from convnn.study.sweep import Sweep
from convnn.study.worker import Worker
from launch import start, wait
from run_folders import run_folder

STUDY = """
title = "Tiny"

[flags]
dataset = "digits"
model = "resnet18"
width = 0.0625
limit_train = {images}
limit_test = 32
batch_size = 32
num_epochs = {epochs}

[[runs]]
layer = ["Conv2d"]
seed = {seeds}

[[plots]]
x = "layer"
"""
pytestmark = pytest.mark.xdist_group("sweep")  # one worker makes the whole sweep for all

TABLES = ("metrics.csv", "best.safetensors")
EPOCHS = 12
"""So many that a run is not over before it is ended on purpose; each takes some 40 ms."""


def write_study(folder: Path, *, seeds: str = "[0, 1]", epochs: int = 1, images: int = 32) -> Path:
    path = folder / "tiny.toml"
    path.write_text(STUDY.format(seeds=seeds, epochs=epochs, images=images))
    return path


def words(study: Path, out: Path) -> list[str]:
    return ["sweep", str(study), "--out", str(out), "--devices", "cpu"]


def start_sweep(study: Path, out: Path, log: Path) -> BaseProcess:
    """Forked, as its runs are, which it forks from a process that imports everything for seconds."""
    return start(main, words(study, out), log=log, OMP_NUM_THREADS="1")


def sweep_here(study: Path, out: Path) -> int:
    """Sweep in this process, whose runs are forked from the process that other tests fork from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        return main(words(study, out))


def runs_of(sweep: int | None) -> list[psutil.Process]:
    """The processes of its runs: children of the one that they are forked from."""
    below = psutil.Process(sweep).children(recursive=True)
    return [process for process in below if process.ppid() != (sweep or os.getpid())]


def wait_for(path: Path) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.05)


def files(out: Path) -> dict[str, bytes]:
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for name in TABLES for p in sorted(out.glob(f"*/{name}"))}


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert sweep_here(write_study(folder, epochs=EPOCHS), folder / "out") == 0
    return folder / "out"


@pytest.mark.slow
def test_tables_and_pictures_are_written(uninterrupted: Path) -> None:
    names = {"results.csv", "results.md", "curves.png", "1_best_by_layer.png", "queue.journal"}
    assert {path.name for path in uninterrupted.iterdir() if path.is_file()} == names
    assert len((uninterrupted / "results.csv").read_text().splitlines()) == 3
    assert re.search(r"\| Conv2d \| 2 \| \d+\.\d\d ± \d+\.\d\d \|", (uninterrupted / "results.md").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGKILL, id="SIGKILL"), pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.long)],
)
def test_a_sweep_that_is_ended_goes_on_to_the_same_bits(
    number: signal.Signals, uninterrupted: Path, tmp_path: Path
) -> None:
    study, out, log = write_study(tmp_path, epochs=EPOCHS), tmp_path / "out", tmp_path / "log"
    sweep = start_sweep(study, out, log)
    wait_for(out / "layer=Conv2d,seed=0" / "last.safetensors")
    children = runs_of(sweep.pid)
    os.kill(sweep.pid or 0, number)
    assert wait(sweep) == (143 if number == signal.SIGTERM else -9)
    if number == signal.SIGTERM:
        assert f"to resume: convnn sweep {study} --out {out} --devices cpu\n" in log.read_text()
    assert len(children) == 1
    psutil.wait_procs(children, timeout=60)  # nobody trains on behind the back of the next sweep
    assert not children[0].is_running()
    assert files(out) != files(uninterrupted)
    assert sweep_here(study, out) == 0
    assert files(out) == files(uninterrupted)


def test_interrupted_runs_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_study(write_study(tmp_path, epochs=2), folder=tmp_path / "out")
    fresh, interrupted = study.runs
    run_folder(interrupted.folder, (0.5,), **interrupted.settings | {"model": "resnet18", "num_epochs": 2})
    sweep = Sweep(study, find_devices(["cpu"], jobs=1))
    started: list[str] = []
    monkeypatch.setattr(sweep, "_start", lambda claim, device: started.append(claim.run))
    sweep._begin([fresh.name, interrupted.name])
    assert started == [interrupted.name]


@pytest.mark.slow
def test_what_is_finished_is_not_made_again(uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.glob("*/*")}
    assert main(["sweep", str(uninterrupted.parent / "tiny.toml"), "--out", str(uninterrupted)]) == 0
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.glob("*/*")} == before


@pytest.mark.slow
def test_two_sweeps_share_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, out, log = write_study(tmp_path, seeds="[0, 1]", epochs=3), tmp_path / "out", tmp_path / "log"
    other = start_sweep(study, out, log)
    wait_for(out / "queue.journal")
    statuses = [sweep_here(study, out), wait(other)]
    texts = [capsys.readouterr().out, log.read_text()]
    assert statuses == [0, 0], texts
    began = [run for text in texts for run in re.findall(r"^(\S+) on cpu", text, re.MULTILINE)]
    assert sorted(began) == [f"layer=Conv2d,seed={n}" for n in range(2)]
    assert len((out / "results.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, seeds="[0]")
    path.write_text(path.read_text().replace('layer = ["Conv2d"]', 'layer = ["ConvNN", "Conv2d"]\nK = [999]'))
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--devices", "cpu"]) == 2
    captured = capsys.readouterr()
    assert "layer=Conv2d,K=999,seed=0 finished" in captured.out
    assert captured.err.startswith("convnn: 1 of 2 runs failed; layer=ConvNN,K=999,seed=0: --K=999 is more than the")
    assert captured.err.count("\n") == 1


@pytest.mark.slow
def test_a_run_that_is_killed_is_told_and_goes_on_next_time(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_study(tmp_path, seeds="[0]", epochs=EPOCHS), tmp_path / "out"

    class Killed(Worker):
        def __init__(self, run: PlannedRun, device: Device) -> None:
            super().__init__(run, device)
            os.kill(self.pid, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convnn.study.sweep.Worker", Killed)
        assert sweep_here(study, out) == 2
    assert "1 of 1 run failed; layer=Conv2d,seed=0: killed by SIGKILL, see" in capsys.readouterr().err
    assert sweep_here(study, out) == 0
    expected = files(uninterrupted)
    assert files(out) == {name: expected[name] for name in files(out)}
    assert len(files(out)) == len(TABLES)


@pytest.mark.slow
def test_a_terminal_shows_what_is_happening(uninterrupted: Path) -> None:
    study = read_study(uninterrupted.parent / "tiny.toml", folder=uninterrupted)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    sweep = Sweep(study, [])
    with LiveTable(console) as table:
        sweep.run(table)
    text = console.file.getvalue()
    assert "Tiny: 2 of 2 runs finished" in text
    assert "layer=Conv2d" not in text  # what is finished is only counted
    console = Console(file=io.StringIO(), width=100)
    console.print(progress(sweep))
    assert re.search(r"layer=Conv2d,seed=1 +finished +12 of 12 +\d+\.\d\d%", console.file.getvalue())


@pytest.mark.slow
def test_runs_of_another_machine_are_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_study(tmp_path, seeds="[0]"), tmp_path / "out"
    out.mkdir()
    claims = Queue(out / "queue.journal", "tiny")
    claims.fill(["layer=Conv2d,seed=0"])
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        assert claims.take(["layer=Conv2d,seed=0"]) is not None
    assert main(["sweep", str(path), "--out", str(out), "--devices", "cpu"]) == 0
    assert "layer=Conv2d,seed=0 is in progress on elsewhere; if nothing runs there any more" in capsys.readouterr().out
    assert main(["sweep", str(path), "--out", str(out), "--devices", "cpu", "--take_over"]) == 0
    assert "layer=Conv2d,seed=0 finished" in capsys.readouterr().out


def test_list_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(write_study(tmp_path)), "--out", str(tmp_path / "out"), "--list"]) == 0
    text = capsys.readouterr().out
    assert text.count("waiting") == 2
    assert "0 of 2 runs finished" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--set num_epochs", "--set num_epochs must be FLAG=VALUE"),
        ("--set num_epoch=2", "--set has the unknown key 'num_epoch'; did you mean 'num_epochs'?"),
        ("--set lr=fast", "--set has lr='fast', which must be of type float"),
        ("--set seed=1", "--set seed has no effect"),
        ("--devices tpu", "--devices tpu is not a device; name cpu, mps, cuda or cuda:0"),
        ("--devices cuda:99", "--devices cuda:99 is not available"),
        ("--jobs 0", "--jobs=0 must be an integer of at least 1"),
        ("--jobs 99999999999", "--jobs=99999999999 must be at most 1024"),
    ],
)
def test_wrong_flags_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str) -> None:
    assert main(["sweep", str(write_study(tmp_path)), "--out", str(tmp_path / "out"), *flags.split()]) == 2
    assert capsys.readouterr().err.startswith(f"convnn: {message}")


def test_devices_are_shared_among_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    places = find_devices(["cpu"], 2)
    cores = len(os.sched_getaffinity(0))
    assert [place.environment for place in places] == [{"OMP_NUM_THREADS": str(max(1, cores // 2))}] * 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    places = find_devices(["cuda"], 1)
    assert [(p.name, p.kind, p.environment["CUDA_VISIBLE_DEVICES"]) for p in places] == [
        ("cuda:0", "cuda", "3"), ("cuda:1", "cuda", "5")
    ]  # fmt: skip
    with pytest.raises(InputError, match="cuda:2 is not available; this machine has 2"):
        find_devices(["cuda:2"], 1)


def test_a_picture_that_fails_stops_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_study(tmp_path, seeds="[0]"), tmp_path / "out"
    run_folder(out / "layer=Conv2d,seed=0", model="resnet18", num_epochs=1)

    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("convnn.study.sweep.draw_loss_curves", fail)
    assert main(["sweep", str(path), "--out", str(out), "--devices", "cpu"]) == 0
    assert "some pictures could not be drawn: RuntimeError: no font\n" in capsys.readouterr().out
    assert (out / "results.csv").exists()


def test_the_line_that_goes_on_can_be_copied() -> None:
    words = ["my study.toml", "--set", "lr=1", "K=2", "--jobs", "2"]
    args = command_parser("sweep").parse_strictly(words)
    assert resume_command(args) == "convnn sweep 'my study.toml' --set lr=1 K=2 --jobs 2"
