"""Runs of networks that have a loss of their own, and no labels: the Trainer, its tables, and what does not fit."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from convnn.cli import main, main_train
from convnn.data import load_data
from convnn.errors import InputError
from convnn.models import Answer, OwnLoss, create_model
from convnn.runs import read_run, read_runs
from convnn.study import Result
from convnn.study.definition import PlannedRun
from convnn.train import (
    Modelling,
    Objective,
    Scores,
    TrainConfig,
    Trainer,
    evaluate,
    judging,
    load_checkpoint,
    make_accelerator,
)
from convnn.train.overlap import make_meter
from convnn.train.schemes import make_objective
from convnn.viz.compare.table import comparison
from launch import start_several, train, wait
from pairwise import only
from same_runs import assert_same, killed_after, rows_of

FLOW = shlex.split(
    "--model finc_flow --dataset digits --levels 2 --num_layers 1 --d_hidden 8 --batch_size 32 --limit_train 96"
    " --limit_test 40 --lr 0.01 --device cpu"
)


def run_of(folder: Path, *flags: str) -> Path:
    assert main_train([*FLOW, "--output_dir", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("flow") / "run", "--num_epochs", "3", "--tensorboard")


class Mean(OwnLoss):
    """The mean of each pixel: its loss is the squared distance, and a term that only training sees noise in."""

    terms = ("distance", "size")
    figures = ("psnr", "share")
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__(1)
        self.mean = nn.Parameter(torch.zeros(1, 8, 8))

    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        squares = (x / 16 - self.mean).square().flatten(1).mean(1)
        size = 0.001 * len(x) * self.mean.square().sum()
        return Answer(
            {"distance": squares.sum(), "size": size},
            {"psnr": -10 * squares.detach().log10(), "share": torch.rand(len(x))},
        )


def trainer_of(network: OwnLoss, **flags: Any) -> Trainer:
    given = {"model": "finc_flow", "dataset": "digits", "lr": 0.05, "num_epochs": 3, "clip_grad_norm": 0.0} | flags
    config = TrainConfig(**given)
    data = load_data("digits", values=17, batch_size=64, limit_train=128, limit_test=50)
    return Trainer(network, data, config, make_accelerator(torch.device("cpu")))


def test_images_without_labels_are_whole_numbers() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", values=17, batch_size=2000)
    assert (data.task, data.classes, data.mean, data.std) == ("modelling", (), (0.0,), (1 / 16,))
    found = torch.cat([next(iter(part)).inputs for part in (data.train, data.test)]).flatten(1)
    wanted = torch.from_numpy(load_digits().data).float()
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert not next(iter(data.test)).labels.any()


def test_pictures_need_no_folders_of_classes(tmp_path: Path) -> None:
    colours = torch.randint(256, (5, 8, 8, 3), dtype=torch.uint8)
    for number, colour in enumerate(colours):
        place = tmp_path / ("train" if number < 3 else "test") / ("deep" if number == 1 else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colour.numpy()).save(place / f"{number}.png")
    data = load_data("imagefolder", tmp_path, values=256, num_workers=0)
    assert (data.train.num_samples, data.test.num_samples, data.input_shape) == (3, 2, (3, 8, 8))
    assert torch.equal(next(iter(data.test)).inputs, colours[3:].permute(0, 3, 1, 2).float())
    fewer = load_data("imagefolder", tmp_path, values=8, num_workers=0)  # of three bits
    assert torch.equal(next(iter(fewer.test)).inputs, (colours[3:] // 32).permute(0, 3, 1, 2).float())
    with pytest.raises(InputError, match=r"train/ has no picture of the classes|has no class folders"):
        load_data("imagefolder", tmp_path, num_workers=0)


def test_the_first_figure_decides_and_all_of_them_are_means() -> None:
    trainer = trainer_of(Mean())
    results = trainer.fit()
    assert [r.train.loss for r in results] == sorted((r.train.loss for r in results), reverse=True)
    last = results[-1]
    x = torch.cat([batch.inputs for batch in trainer.data.test]) / 16
    squares = (x - trainer.network.mean.detach()).square().flatten(1).mean(1)
    assert last.test.measures["psnr"] == pytest.approx((-10 * squares.log10()).mean().item(), abs=1e-4)
    assert last.test.loss == pytest.approx(
        squares.mean().item() + 0.001 * trainer.network.mean.square().sum().item(), abs=1e-5
    )
    assert last.terms.keys() == {"distance", "size"}
    assert sum(last.terms.values()) == pytest.approx(last.train.loss, abs=1e-6)
    assert [r.is_best for r in results] == [True, True, True]
    assert last.test.merit == last.test.measures["psnr"]
    assert (last.train.top1, last.train.top5) == (None, None)


def test_without_figures_the_lowest_loss_is_best() -> None:
    class Plain(Mean):
        figures = ()

        def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
            return Answer({"loss": super().forward(x).terms["distance"]})

        terms = ("loss",)

    results = trainer_of(Plain(), lr=30.0, num_epochs=4).fit()  # which jumps up and down
    losses = [result.test.loss for result in results]
    best = max(result.epoch for result in results if result.is_best)
    assert losses.index(min(losses)) == best - 1
    assert results[0].terms == {}
    assert Scores(float("nan"), None, None).merit == float("-inf")


def test_evaluation_draws_the_same_numbers_and_leaves_the_generators() -> None:
    torch.manual_seed(0)
    trainer = trainer_of(create_model("finc_flow", in_channels=1, levels=2, num_layers=1, d_hidden=4, values=17))
    before = torch.get_rng_state()
    first, second = (trainer.evaluate(trainer.data.test) for _ in range(2))
    assert first == second
    assert torch.equal(before, torch.get_rng_state())
    assert trainer.network.training


def test_bits_are_those_of_the_density_of_whole_numbers() -> None:
    torch.manual_seed(0)
    network = create_model("finc_flow", in_channels=1, levels=1, num_layers=1, d_hidden=4, values=3).double()
    flow = network.flow
    x = torch.randint(3, (6, 1, 2, 2)).double()
    torch.manual_seed(1)
    answer = network(x)
    torch.manual_seed(1)
    log_prob = flow(x)[1]
    bits = -log_prob / (4 * torch.tensor(2.0, dtype=torch.double).log())
    torch.testing.assert_close(answer.figures["bits_per_dim"], bits)
    torch.testing.assert_close(answer.terms["latents"] + answer.terms["volume"], bits.sum())


def test_tables_have_no_accuracies(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(finished)
    columns = "epoch train_loss test_loss lr term_latents term_volume test_bits_per_dim"
    assert " ".join(rows[0]) == columns
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    texts = [(finished / name).read_text().lower() for name in ("train_eval_results.txt", "metrics.csv")]
    assert not any(word in text for text in texts for word in ("top", "accuracy", "%"))
    assert f"Min bits_per_dim: {float(rows[-1]['test_bits_per_dim']):.8f} at Epoch 3" in texts[0].replace(
        "min bits_per_dim", "Min bits_per_dim"
    ).replace("at epoch", "at Epoch")
    run = read_run(finished)
    assert (run.metric, run.best) == ("bits_per_dim", 2)
    assert run.merits == [-value for value in run.values]
    assert main(["evaluate", str(finished), "--json", "--limit_test", "40", "--batch_size", "32"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not {"top1", "top5"} & found.keys()
    assert found["bits_per_dim"] == pytest.approx(float(rows[-1]["test_bits_per_dim"]), abs=1e-6)
    assert found["latents"] + found["volume"] == pytest.approx(found["loss"], abs=1e-5)


def test_tensorboard_has_no_accuracies(finished: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = accumulator.EventAccumulator(str(finished / "tensorboard"))
    log.Reload()
    tags = set(log.Tags()["scalars"])
    assert {"loss/train", "loss/test", "bits_per_dim/test", "terms/volume", "lr"} <= tags
    assert not any("top" in tag for tag in tags)


def test_a_comparison_marks_the_fewest_bits(finished: Path, tmp_path: Path) -> None:
    other = run_of(tmp_path / "worse", "--num_epochs", "1")
    columns = {column.heading: column for column in comparison(read_runs([finished, other]))}
    assert not any("top" in heading for heading in columns)
    assert columns["best bits_per_dim"].best == (True, False)
    assert columns["best bits_per_dim"].cells[0] == f"{float(rows_of(finished)[-1]['test_bits_per_dim']):.4f}"
    assert main(["compare", str(finished), str(other), "--out", str(tmp_path / "both")]) == 0
    assert "%" not in (tmp_path / "both" / "compare.md").read_text()


def test_a_sweep_writes_bits_as_bits(finished: Path) -> None:
    result = Result(PlannedRun("one", {}, TrainConfig(model="finc_flow")), read_run(finished))
    assert result.text("best") == f"{float(rows_of(finished)[-1]['test_bits_per_dim']):.4f}"


@pytest.mark.slow
@pytest.mark.parametrize("steps", only((2, 5).__contains__, range(1, 6)))
def test_a_run_killed_after_any_step_resumes_to_the_bit(steps: int, finished: Path, tmp_path: Path) -> None:
    with killed_after(steps):
        flags = ["--num_epochs", "3", "--checkpoint_every", "1", "--tensorboard"]
        assert main_train([*FLOW, "--output_dir", str(tmp_path), *flags]) == 2
    assert main_train(["--resume", str(tmp_path)]) == 0
    assert_same(tmp_path, finished)


@pytest.mark.parametrize("flags", ["--accumulate 2", "--use_amp", "--layer ConvNN --K 4", "--no-invertible_conv"])
def test_ways_to_train(flags: str, tmp_path: Path) -> None:
    rows = rows_of(run_of(tmp_path, "--num_epochs", "2", *flags.split()))
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])


def test_initial_weights_are_kept_and_not_prepared_again(finished: Path) -> None:
    data = load_data("digits", values=17, batch_size=32)
    config = TrainConfig(model="finc_flow", dataset="digits", init_from=str(finished))
    network, _ = load_checkpoint(finished)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert isinstance(make_objective(network, config, data), Modelling)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_empty_shares_of_a_batch_count_nothing() -> None:
    objective: Objective = Modelling(create_model("finc_flow", in_channels=1, levels=1, num_layers=1, d_hidden=4))
    data = load_data("digits", values=256, batch_size=1, num_processes=2, process_index=0, limit_test=1)
    batch = next(iter(data.test))
    assert len(batch.labels) == 0
    outcome = objective.eval()(batch)
    assert outcome.loss.item() == 0
    assert outcome.figures["bits_per_dim"].shape == (0,)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model vgg11 --values 17", "--values=17 makes images without labels, but --model=vgg11 needs some"),
        ("--model finc_flow --dataset sbm", "--model=finc_flow reads images, but --dataset=sbm has graphs"),
        ("--dataset adding", "--model=finc_flow reads images, but --dataset=adding has sequences"),
        ("--objective infonce", "--objective=infonce is for networks of classes"),
        ("--criterion MSE", "--criterion=MSE is for networks of classes"),
        ("--distill timm:resnet18", "--distill=timm:resnet18 is for networks of classes"),
        ("--fsdp", "--fsdp divides the network before it has seen a batch"),
        ("--noise 0.1", "--noise=0.1 changes images that --values=17 makes whole"),
        ("--values 257", "--values=257 must be at most 256"),
        ("--values 1", "--values=1 must be an integer of at least 2"),
        ("--levels 4", "multiples of 16, 2 to the power of --levels=4"),
    ],
)
def test_what_does_not_fit(flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train([*FLOW, *flags.split(), "--output_dir", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_networks_and_data_that_do_not_fit() -> None:
    flow, classifier = create_model("finc_flow"), create_model("vgg11", "Conv2d", width=1 / 32)
    with pytest.raises(InputError, match="network=PixelFlow has a loss of its own and takes no labels, but the data"):
        judging(flow, "CrossEntropy", "classification")
    with pytest.raises(InputError, match="network=VGG needs labels, but the data set has none"):
        judging(classifier, "CrossEntropy", "modelling")


@pytest.mark.parametrize("command", ["predict RUN x.png", "export RUN --out NEW", "neighbors RUN x.png"])
def test_commands_for_classes(command: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    places = {"RUN": str(finished), "NEW": str(tmp_path / "x.onnx")}
    assert main([places.get(word, word) for word in command.split()]) == 2
    message = f"convnn {command.split()[0]} is for networks of classes, but the checkpoint is of finc_flow, which has a"
    assert message in capsys.readouterr().err


def test_evaluating_in_python_counts_every_image_once(finished: Path) -> None:
    network, _ = load_checkpoint(finished)
    objective, data = Modelling(network), load_data("digits", values=17, batch_size=64, limit_test=100)
    accelerator = make_accelerator(torch.device("cpu"))
    meter = make_meter("modelling", 0, accelerator.device, objective.terms, objective.figures)
    found = evaluate(objective, data.test, accelerator, meter=meter)
    assert list(found.measures) == ["bits_per_dim", "latents", "volume"]
    assert found.measures["bits_per_dim"] == pytest.approx(found.loss, abs=1e-5)


@pytest.mark.slow
def test_two_processes_share_batches_without_labels(tmp_path: Path) -> None:
    flags = ["--limit_train", "25", "--limit_test", "7", "--batch_size", "3", "--num_epochs", "2", "--lr", "0.003"]
    log, folder = tmp_path / "log", tmp_path / "run"
    processes = start_several(train, [*FLOW, *flags, "--output_dir", str(folder)], log=log)
    assert [wait(process) for process in processes] == [0, 0], log.read_text()
    one = rows_of(run_of(tmp_path / "one", *flags))
    for ours, theirs in zip(rows_of(folder), one, strict=True):  # whose noise is another
        assert float(ours["test_bits_per_dim"]) == pytest.approx(float(theirs["test_bits_per_dim"]), rel=0.1)
