"""An objective of one's own: its parameters are trained and resumed, and its terms have curves."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed
from torch import Tensor, nn

from convnn.data import Batch, load_data
from convnn.errors import InputError
from convnn.models import create_model
from convnn.runs.curves import read_curves
from convnn.train import (
    Callback,
    Interrupted,
    Interruption,
    Objective,
    Outcome,
    RunFolder,
    RunState,
    TrainConfig,
    Trainer,
    load_checkpoint,
    make_accelerator,
    read_checkpoint,
    summarize,
)
from convnn.viz import draw_curves

FLAGS = {"dataset": "digits", "model": "resnet18", "layer": "Conv2d", "width": 1 / 16, "num_epochs": 2, "lr": 0.01}
FLAGS |= {"batch_size": 16, "limit_train": 48, "limit_test": 32, "device": "cpu", "checkpoint_every": "1"}


class Shifted(Objective):
    """The criterion of logits that are shifted and shaken, and the squared length of the shift."""

    terms = ("criterion", "length")

    def __init__(self, network, criterion: str) -> None:
        super().__init__(network, criterion)
        self.shift = nn.Parameter(torch.full((10,), 0.5))
        self.register_buffer("steps", torch.zeros(1))

    def learn(self, batch: Batch) -> Outcome:
        self.steps += 1
        logits = self.network(batch.inputs)
        shaken = logits + self.shift * torch.rand_like(logits)
        parts = {"criterion": self.criterion(shaken, batch.labels), "length": len(logits) * self.shift.square().sum()}
        return Outcome(sum(parts.values()), logits, {name: part.detach() for name, part in parts.items()})


class StopAfter(Callback):
    """Sends itself a signal after a step."""

    def __init__(self, step: int, interruption: Interruption) -> None:
        self.left = step
        self.interruption = interruption

    def on_step(self, step: int) -> None:
        self.left -= 1
        if self.left == 0:
            self.interruption.number = 15


def make(folder: Path, stop: int = 0, **flags: object) -> Trainer:
    config = TrainConfig(**(FLAGS | flags), output_dir=str(folder))
    set_seed(config.seed)
    data = load_data("digits", batch_size=16, limit_train=48, limit_test=32, seed=0)
    network = create_model("resnet18", "Conv2d", in_channels=1, num_classes=10, width=1 / 16, **config.settings)
    interruption = Interruption()
    callbacks = [RunFolder(config, network, data, summarize(network, data.input_shape))]
    callbacks += [StopAfter(stop, interruption)] if stop else []
    objective = Shifted(network, config.criterion)
    return Trainer(network, data, config, make_accelerator(torch.device("cpu")), callbacks, interruption, objective)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make(folder).fit()
    return folder


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def state(path: Path) -> RunState:
    run = read_checkpoint(path / "last.safetensors").run
    assert run is not None
    return run


def test_its_parameters_are_trained_and_kept_beside_the_weights(whole: Path) -> None:
    kept = state(whole).group("objective")
    assert kept.keys() == {"shift", "steps"}
    assert kept["steps"] == 6
    assert not torch.equal(kept["shift"], torch.full((10,), 0.5))
    network, _ = load_checkpoint(whole / "best.safetensors")
    assert not any("shift" in name for name in network.state_dict())


def test_its_terms_have_columns_and_curves(whole: Path, tmp_path: Path) -> None:
    curves = read_curves(whole / "metrics.csv")
    for epoch in range(2):
        parts = curves["term_criterion"][epoch] + curves["term_length"][epoch]
        assert parts == pytest.approx(curves["train_loss"][epoch], rel=1e-6)
    assert draw_curves(whole / "metrics.csv", tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize("step", [1, 3, 5])
def test_it_resumes_to_the_bit(step: int, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        make(tmp_path, step).fit()
    trainer = make(tmp_path, resume=str(tmp_path))
    trainer.resume(read_checkpoint(tmp_path / "last.safetensors"), tmp_path)
    trainer.fit()
    assert same(state(tmp_path).tensors, state(whole).tensors)
    assert same(*(read_checkpoint(folder / "best.safetensors").weights for folder in (tmp_path, whole)))
    assert (tmp_path / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("objective/shift", None, "objective/shift is missing where"),
        ("objective/shift", torch.zeros(9), r"objective/shift is \(9,\)"),
        ("objective/shift", torch.full((10,), torch.nan), "objective/shift has values that are not finite"),
        ("objective/other", torch.zeros(1), r"objective/other is \(1,\) of torch.float32 where missing"),
        ("scores/sums", torch.zeros(1, 4), r"scores/sums is \(1, 4\).* where rows of 6 sums"),
        ("optimizer/exp_avg/shift", None, "optimizer/exp_avg/shift is missing"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    name: str, value: Tensor | None, message: str, whole: Path, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(whole / "last.safetensors")
    tensors = dict(checkpoint.run.tensors)
    tensors.pop(name, None)
    tensors |= {} if value is None else {name: value}
    changed = type(checkpoint)(checkpoint.weights, checkpoint.recipe, RunState(tensors, checkpoint.run.document))
    with pytest.raises(InputError, match=message):
        make(tmp_path).resume(changed, "there")
