"""Tests of pruning during training: once an epoch, and to the bit where a run was resumed."""

import shlex
from pathlib import Path

import pytest
import torch

from convnn.cli import main_train
from convnn.train import read_checkpoint

FLAGS = shlex.split(
    "--dataset digits --model resnet18 --width 0.0625 --layer ShiftWise --big_kernel 5 --small_kernel 3 --N_path 1"
    " --N_rep 1 --ghost_ratio 0 --sparsity 0.3 --batch_size 8 --limit_train 16 --limit_test 8 --lr 0.01"
)


@pytest.mark.slow
def test_kernels_are_pruned_every_epoch_and_a_resumed_run_goes_on_with_the_same(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main_train([*FLAGS, "--num_epochs", "2", "--output_dir", str(whole)]) == 0
    assert main_train([*FLAGS, "--num_epochs", "1", "--output_dir", str(parts)]) == 0
    first = read_checkpoint(parts / "last.safetensors").weights
    assert main_train([*FLAGS, "--num_epochs", "2", "--output_dir", str(parts), "--resume"]) == 0
    last, expected = (read_checkpoint(run / "last.safetensors").weights for run in (parts, whole))
    assert all(torch.equal(value, expected[name]) for name, value in last.items())
    kept = [name for name in last if name.endswith(".kept")]
    assert len(kept) == 16
    assert all(1 - value.double().mean() == pytest.approx(0.3, abs=0.1) for value in (last[name] for name in kept))
    assert any(not torch.equal(first[name], last[name]) for name in kept)
