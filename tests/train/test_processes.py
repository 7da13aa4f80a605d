"""Two processes against one, on the CPU with gloo."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from faults.digest import run_digest
from launch import start_several, train, wait, wait_for
from pairwise import one_in, only
from programs import evaluate_1001_samples, take_a_step

NETWORKS = {
    "vit": {"model": "vit", "layer": "ConvNNAttention", "resize": 8, "patch_size": 2, "num_layers": 2}
    | {"d_hidden": 12, "d_mlp": 8, "num_heads": 3, "K": 4, "attention_dropout": 0.0},
    "resnet": {"model": "resnet18", "layer": "Branching", "width": 1 / 16, "K": 4},
    "random": {"model": "resnet18", "layer": "ConvNN", "width": 1 / 16, "K": 4}
    | {"sampling_type": "random", "num_samples": 20},
    "vgg": {"model": "vgg11", "layer": "ConvNN_Attn", "width": 1 / 32, "K": 4, "resize": 32, "attention_dropout": 0.0},
    "densenet": {"model": "densenet121", "layer": "Conv2d", "width": 1 / 16, "resize": 16},
}


ROOT = Path(__file__).parents[2]

RUN = shlex.split(
    "--dataset digits --model resnet18 --layer ConvNN --width 0.0625 --K 4 --batch_size 32 --limit_train 161"
    " --limit_test 51 --num_epochs 3 --lr 0.01 --device cpu --augment --noise 0.1 --sampling_type random"
    " --num_samples 20 --scheduler plateau --checkpoint_every 2"
)


def in_processes(count: int, tmp_path: Path, program: Callable, *args: object) -> dict:
    """Run a program in several processes and return what it saved."""
    out, log = tmp_path / f"{count}.pt", tmp_path / f"{count}.log"
    processes = start_several(program, *args, str(out), log=log, count=count)
    assert [wait(process) for process in processes] == [0] * count, log.read_text()
    return torch.load(out, weights_only=True)


@pytest.fixture(scope="module")
def step_of_one(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict], dict]:
    """Return a function that takes a step in one process, once for the same flags."""
    steps: dict[str, dict] = {}

    def step_of_one(flags: dict) -> dict:
        if str(flags) not in steps:
            steps[str(flags)] = in_processes(1, tmp_path_factory.mktemp("one"), take_a_step, flags)
        return steps[str(flags)]

    return step_of_one


@pytest.fixture
def check_same_step(step_of_one: Callable[[dict], dict], tmp_path: Path) -> Callable[[dict, dict], None]:
    """Return a function that compares a step of two processes, with more flags, with that of one."""

    def check_same_step(flags: dict, several: dict) -> None:
        one, two = step_of_one(flags), in_processes(2, tmp_path, take_a_step, flags | several)
        compare(one, two)

    return check_same_step


def compare(one: dict, two: dict) -> None:
    for name, gradient in one["gradients"].items():
        error = (two["gradients"][name] - gradient).abs().max().item()
        assert error <= 1e-6, name
    assert two["train"] == pytest.approx(one["train"], rel=1e-6)
    assert two["test"] == pytest.approx(one["test"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", only(("vit", "resnet").__contains__, NETWORKS))
def test_two_processes_have_the_gradients_of_one(name: str, check_same_step: Callable) -> None:
    check_same_step(NETWORKS[name] | {"batch_size": 33}, {})


@pytest.mark.long
def test_shared_kernels_have_the_gradients_of_one_process(check_same_step: Callable) -> None:
    check_same_step(NETWORKS["resnet"] | {"batch_size": 33, "share_kernels": "stage"}, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", pytest.param("resnet", marks=pytest.mark.long)])
def test_a_process_without_a_sample_changes_nothing(name: str, check_same_step: Callable) -> None:
    check_same_step(NETWORKS[name] | {"batch_size": 1}, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_weights_spread_over_processes_have_the_same_gradients(name: str, check_same_step: Callable) -> None:
    check_same_step(NETWORKS[name] | {"batch_size": 33}, {"fsdp": True})


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, pytest.param({"fsdp": True}, marks=pytest.mark.long)], ids=["ddp", "fsdp"])
def test_two_processes_accumulate_the_gradients_of_one(more: dict, check_same_step: Callable) -> None:
    check_same_step(NETWORKS["resnet"] | {"batch_size": 7, "accumulate": 3}, more)


@pytest.mark.slow
def test_statistics_of_each_process_alone_have_other_gradients(check_same_step: Callable) -> None:
    with pytest.raises(AssertionError, match=r"stem\.0\.weight"):
        check_same_step(NETWORKS["resnet"] | {"batch_size": 33}, {"sync_batchnorm": False})


@pytest.mark.parametrize("count", one_in(2, [3, 2]))
def test_evaluation_counts_every_sample_once(count: int, tmp_path: Path) -> None:
    one, several = (in_processes(n, tmp_path, evaluate_1001_samples) for n in (1, count))
    assert torch.equal(several["seen"], torch.arange(1001))
    assert several["scores"][1:] == one["scores"][1:]
    assert several["scores"][0] == pytest.approx(one["scores"][0], rel=1e-12)


def digests(folder: Path) -> tuple[str, bytes]:
    return run_digest(folder), (folder / "metrics.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], marks=pytest.mark.long, id="ddp"),
        pytest.param(["--fsdp"], marks=pytest.mark.long, id="fsdp"),
        pytest.param(["--accumulate", "2"], id="accumulated"),  # and so of the first
    ],
)
def test_several_processes_stop_together_and_go_on_to_the_bit(more: list[str], tmp_path: Path) -> None:
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    log = tmp_path / "log"
    processes = start_several(train, [*RUN, *more, "--output_dir", str(undisturbed)], log=log)
    assert [wait(process) for process in processes] == [0, 0], log.read_text()
    log = tmp_path / "stopped.log"
    processes = start_several(train, [*RUN, *more, "--output_dir", str(stopped)], log=log)
    wait_for("epoch 1/3", log, processes[0])
    os.kill(processes[1].pid, signal.SIGTERM)
    assert [wait(process) for process in processes] == [143, 143], log.read_text()
    assert (stopped / "metrics.csv").read_text().count("\n") != 4, "it was over already"
    processes = start_several(train, ["--resume", str(stopped)], log=log)
    assert [wait(process) for process in processes] == [0, 0], log.read_text()
    assert digests(stopped) == digests(undisturbed)


LAUNCHERS = {
    "torchrun": ("-m torch.distributed.run --standalone --nproc-per-node 2", "cpu, 2 processes"),
    "accelerate": ("-m accelerate.commands.launch --cpu --num_processes 1", "cpu"),  # for more it wants MPI on the CPU
}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_start_it(launcher: str, tmp_path: Path) -> None:
    command, device = LAUNCHERS[launcher]
    argv = [sys.executable, *command.split(), str(ROOT / "main.py"), *RUN, "--output_dir", str(tmp_path / "run")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert device in " ".join(done.stdout.split())
    assert done.stdout.count("epoch 3/3") == 1, "one of them writes"
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 4
