"""Training with penalties on generated kernels: terms, curves, resuming to the bit, and what has no such kernels."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.cli import main_train
from convnn.data import load_data
from convnn.errors import InputError
from convnn.models import create_model
from convnn.objectives.sampled_kernels import SampledKernels, kernel_decay, nyquist_penalty
from convnn.runs.curves import read_curves
from convnn.train import TrainConfig
from convnn.train.optim import make_optimizer
from convnn.train.schemes import make_objective
from same_runs import assert_same

FLEX = "--dataset digits --model resnet18 --width 0.0625 --layer FlexConv --horizon 5 --mask_init_value 0.4"
PENALTIES = "--kernel_decay 0.01 --nyquist_weight 0.1 --nyquist_target gabor+mask"
SHORT = "--batch_size 8 --limit_train 16 --limit_test 8"


def test_terms_are_the_penalties_of_the_batch() -> None:
    penalties = {"kernel_decay": 0.5, "nyquist_weight": 0.25}
    config = TrainConfig(dataset="digits", model="resnet18", width=1 / 16, layer="FlexConv", horizon="5", **penalties)
    data = load_data("digits", batch_size=8, limit_train=8, limit_test=8, seed=0)
    network = create_model("resnet18", "FlexConv", in_channels=1, num_classes=10, width=1 / 16, **config.settings)
    batch = next(iter(data.train))
    objective = make_objective(network, config, data).train()
    torch.manual_seed(0)  # of dropout
    outcome = objective(batch)
    assert objective.terms == tuple(outcome.terms) == ("labels", "kernel_decay", "nyquist")
    kernels = SampledKernels(network)
    torch.manual_seed(0)
    labels = nn.functional.cross_entropy(network(batch.inputs), batch.labels, reduction="sum")
    sampled = kernels.take()
    expected = [labels, 8 * 0.5 * kernel_decay(sampled), 8 * 0.25 * nyquist_penalty(sampled)]
    assert [term.item() for term in outcome.terms.values()] == pytest.approx([e.item() for e in expected], rel=1e-5)
    assert outcome.loss.item() == pytest.approx(sum(expected).item(), rel=1e-5)
    assert set(objective.state_dict()) == {f"network.{name}" for name in network.state_dict()}
    assert not objective.eval()(batch).terms


@pytest.mark.slow
def test_a_run_resumes_to_the_bit_and_has_curves_of_its_terms(train: Callable[[str], Path]) -> None:
    flags = f"{FLEX} {PENALTIES} {SHORT}"
    whole, parts = train(f"{flags} --num_epochs 2"), train(f"{flags} --num_epochs 1")
    assert main_train(["--resume", str(parts), "--num_epochs", "2"]) == 0
    assert_same(whole, parts)
    curves = read_curves(whole / "metrics.csv")
    terms = [curves[f"term_{name}"] for name in ("labels", "kernel_decay", "nyquist")]
    assert [sum(parts) for parts in zip(*terms, strict=True)] == pytest.approx(curves["train_loss"], rel=1e-5)
    assert all(value > 0 for value in terms[1] + terms[2])


def test_weights_of_kernels_do_not_decay_where_the_kernels_do() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), cnn.CKConv2d(2, 2, horizon=3))
    for decay, expected in ((0.0, [0.25]), (0.1, [0.25, 0.0])):
        groups = make_optimizer(network, TrainConfig(weight_decay=0.25, kernel_decay=decay)).param_groups
        assert [group["weight_decay"] for group in groups] == expected
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in network[1].parameters()}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--layer Conv2d --kernel_decay 0.1",
            "--kernel_decay=0.1 is for generated kernels, and --model=resnet18 with --layer=Conv2d has none; leave it"
            " out, or choose a layer such as CKConv",
        ),
        (
            "--layer CKConv --nyquist_weight 0.1",
            "--nyquist_weight=0.1 is for kernels of Gabor filters, and --model=resnet18 with --layer=CKConv has none;"
            " leave it out, or choose FlexConv or CCNNConv",
        ),
    ],
)
def test_networks_without_such_kernels_are_refused_at_once(
    flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"--dataset digits --model resnet18 --width 0.0625 {flags} --output_dir {tmp_path / 'run'}"
    assert main_train(run.split()) == 2
    assert capsys.readouterr().err.strip().endswith(message)
    assert not (tmp_path / "run" / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"objective": "infonce"}, "--kernel_decay=0.1 is added to the loss of labels, but --objective=infonce is"),
        ({"distill": "t.safetensors"}, "--kernel_decay=0.1 is added to the loss of labels, but --distill="),
        ({"model": "finc_flow"}, "--kernel_decay=0.1 is added to the loss of labels, but --model=finc_flow has a"),
        ({"fsdp": True}, "--fsdp divides the network among the processes, but --kernel_decay=0.1 reads whole kernels"),
    ],
)
def test_other_losses_are_refused(flags: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        TrainConfig(**flags, kernel_decay=0.1)
