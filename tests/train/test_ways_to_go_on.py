"""Accumulated gradients, warm-up, early stopping, initial weights and threads, and resuming to the bit."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnn.cli import main_train
from convnn.cli._flags import given_flags
from convnn.cli._parser import Parser
from convnn.cli.train import add_flags, fix_threads
from convnn.data import load_data
from convnn.errors import InputError
from convnn.models import create_model
from convnn.train import ConsoleReport, TrainConfig, Trainer, read_checkpoint, save_checkpoint, start_from
from convnn.train.config_file import read_config_file
from convnn.train.device import make_accelerator
from convnn.train.machine import check_machine, describe_change, describe_machine, saved_threads
from convnn.train.optim import Schedule, make_optimizer
from convnn.train.stopping import stop_reason
from faults.digest import run_digest
from pairwise import only

RUN = (
    "--dataset digits --model vit --resize 8 --patch_size 4 --num_layers 1 --num_heads 1 --d_hidden 8 --d_mlp 8"
    " --dropout 0.2 --augment --noise 0.1 --limit_train 41 --limit_test 16 --batch_size 8 --num_epochs 3 --lr 0.01"
    " --device cpu --scheduler none"
)
VIT = {"model": "vit", "num_layers": 1, "num_heads": 1, "d_hidden": 8, "d_mlp": 8, "patch_size": 4, "dropout": 0.0}


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A callback that raises SIGTERM in a step, counted from 1 over all epochs; 0 means never."""

    def stop_at(number: int) -> None:
        done = iter(range(1, 10**6))

        def on_step(report: ConsoleReport, step: int) -> None:
            if next(done) == number:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(ConsoleReport, "on_step", on_step)

    return stop_at


@pytest.fixture
def run(train: Callable[[str], Path]) -> Path:
    return train(f"{RUN} --num_epochs 1")


def started(argv: list[str], folder: Path) -> int:
    return main_train([*argv, "--resume", "--output_dir", str(folder)])


FLAGS = {
    "accumulated": "--accumulate 2",  # 5 batches, the last group is of one
    "accumulated and warm": "--accumulate 3 --warmup_epochs 2 --scheduler cosine",
    "warm plateau": "--warmup_epochs 1 --scheduler plateau",
    "warm steps": "--warmup_epochs 1 --scheduler step --lr_step 1 --optimizer sgd",
    "patient": "--patience 1 --lr 1e-30",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", only(("accumulated and warm", "warm plateau", "patient").__contains__, FLAGS))
def test_a_stopped_run_goes_on_to_the_bit(name: str, stop_at, tmp_path: Path, capsys) -> None:
    argv = [*RUN.split(), *FLAGS[name].split()]
    assert started(argv, tmp_path / "whole") == 0
    steps = 3 if "accumulate 2" in FLAGS[name] else 2 if "accumulate 3" in FLAGS[name] else 5
    stop_at(steps + 1)
    assert started(argv, tmp_path / "stopped") == 143
    assert f"to resume: convnn train --resume {tmp_path / 'stopped'}\n" in capsys.readouterr().out
    position = read_checkpoint(tmp_path / "stopped" / "last.safetensors").run.document["position"]
    assert (position["epoch"], position["step"]) == (2, 1)
    stop_at(0)
    assert started(argv, tmp_path / "stopped") == 0
    assert run_digest(tmp_path / "stopped") == run_digest(tmp_path / "whole")


def test_a_file_says_the_same_as_the_command_line(tmp_path: Path) -> None:
    flags = {"accumulate": 2, "warmup_epochs": 1, "patience": 3, "init_from": "a/best.safetensors", "threads": 2}
    (tmp_path / "a.toml").write_text("".join(f"{name} = {value!r}\n" for name, value in flags.items()))
    parser = Parser()
    add_flags(parser)
    argv = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    assert read_config_file(tmp_path / "a.toml") == flags == given_flags(parser.parse_strictly(argv))


def gradients(batch_size: int, accumulate: int, limit: int) -> dict[str, torch.Tensor]:
    """Return by how far plain SGD moves the weights in an epoch of one step."""
    config = TrainConfig(
        **VIT, optimizer="sgd", momentum=0.0, lr=1.0, weight_decay=0.0, clip_grad_norm=0.0, num_epochs=1,
        batch_size=batch_size, accumulate=accumulate, scheduler="none", attention_dropout=0.0,
    )  # fmt: skip
    data = load_data("digits", batch_size=batch_size, limit_train=limit, limit_test=8)
    torch.manual_seed(0)
    network = create_model(config.model, config.layer, in_channels=1, num_classes=10, **config.settings).double()
    network.register_forward_pre_hook(lambda _, images: images[0].double())
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trainer = Trainer(network, data, config, make_accelerator(torch.device("cpu")))
    assert trainer.num_steps == 1
    trainer.fit()
    return {name: before[name] - p.detach() for name, p in network.named_parameters()}


def test_accumulated_gradients_are_those_of_one_large_batch_also_of_an_incomplete_group() -> None:
    large = gradients(batch_size=19, accumulate=1, limit=19)
    for batch_size, accumulate in ((8, 3), (6, 4), (8, 100)):  # 8 + 8 + 3; 6 + 6 + 7, whose last joins; 8 + 8 + 3
        for name, gradient in gradients(batch_size, accumulate, limit=19).items():
            torch.testing.assert_close(gradient, large[name], rtol=1e-9, atol=1e-12)


def warm_rates(scheduler: str, epochs: int, warmup: int, steps: int = 2, **flags: object) -> list[float]:
    """Return the learning rate of every step."""
    config = TrainConfig(scheduler=scheduler, lr=1.0, num_epochs=epochs, warmup_epochs=warmup, **flags)
    optimizer = make_optimizer(torch.nn.Linear(1, 1), config)
    schedule, rates = Schedule(optimizer, config), []
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            with schedule.warmup(epoch - 1 + step / steps):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
        schedule.advance(epoch, 0.5)
    return rates


def test_warm_up_rises_in_equal_steps_and_the_scheduler_follows() -> None:
    assert warm_rates("none", 3, 2) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert warm_rates("step", 4, 1, lr_step=2, lr_gamma=0.5) == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    assert warm_rates("cosine", 5, 1)[2:] == pytest.approx(warm_rates("cosine", 4, 0))
    assert warm_rates("plateau", 14, 2, lr_gamma=0.5)[4:] == warm_rates("plateau", 12, 0, lr_gamma=0.5)


def test_warm_up_leaves_an_epoch_to_train() -> None:
    with pytest.raises(InputError, match="--warmup_epochs=3 must be less than --num_epochs=3"):
        TrainConfig(warmup_epochs=3, num_epochs=3)


@pytest.mark.parametrize(
    ("accuracies", "patience", "expected"),
    [
        ([0.2, 0.1], 2, None),
        ([0.2, 0.1, 0.2], 2, "no epoch was better than epoch 1 within --patience=2"),
        ([0.2, 0.1, 0.3, 0.1], 2, None),
        ([0.2, 0.0, 0.0, 0.0], None, None),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, "5 epochs done with --num_epochs=5"),
        ([], 1, None),
    ],
)
def test_when_a_run_is_over(accuracies: list[float], patience: int | None, expected: str | None) -> None:
    assert stop_reason(accuracies, TrainConfig(num_epochs=5, patience=patience)) == expected


@pytest.mark.slow
def test_a_run_that_stops_early_says_so_stays_so_and_goes_on_with_more_patience(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*RUN.split(), "--lr", "1e-30", "--patience", "1"]
    assert started(argv, tmp_path) == 0
    reason = "no epoch was better than epoch 1 within --patience=1"
    assert f"stopped after 2 of 3 epochs: {reason}" in capsys.readouterr().out
    assert started(argv, tmp_path) == 0
    assert "nothing left to train" in capsys.readouterr().out
    assert main_train(["--resume", str(tmp_path), "--patience", "9"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out


@pytest.mark.slow
def test_fewer_epochs_than_are_done_are_nothing_to_do_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_train(["--resume", str(run), "--num_epochs", "2"]) == 0
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    capsys.readouterr()
    assert main_train(["--resume", str(run), "--num_epochs", "1"]) == 0
    assert "nothing left to train for" in (printed := capsys.readouterr().out)
    assert "2 epochs done with --num_epochs=1" in printed
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_that_is_refused_leaves_its_files_as_they_were(run: Path) -> None:
    """Check that flags are checked before the images."""
    (run / "last.safetensors").rename(run / "other.safetensors")
    checkpoint = read_checkpoint(run / "other.safetensors")
    checkpoint.run.document["num_samples"] = 40
    save_checkpoint(run / "last.safetensors", checkpoint)
    (run / "previous.safetensors").unlink(missing_ok=True)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main_train(["--resume", str(run), "--num_epochs", "2"]) == 2
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def of_classes(count: int) -> torch.nn.Module:
    settings = {"num_layers": 1, "num_heads": 1, "d_hidden": 8, "d_mlp": 8, "patch_size": 4}
    torch.manual_seed(1)
    return create_model("vit", "Attention", in_channels=1, num_classes=count, **settings)


@pytest.mark.slow
def test_a_run_starts_with_the_weights_of_another(
    run: Path, stop_at, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "best.safetensors"
    argv = [*RUN.split(), "--lr", "1e-30", "--weight_decay", "0", "--init_from", str(path)]
    assert started([*argv, "--num_epochs", "1"], tmp_path / "a") == 0
    printed = capsys.readouterr().out
    assert f"starting from the weights of {path}" in printed
    assert "randomly initialised" not in printed
    learned, kept = (read_checkpoint(one).weights for one in (path, tmp_path / "a" / "last.safetensors"))
    assert all(torch.equal(learned[name], kept[name]) for name in learned)
    assert f"init_from: {path}\n" in (tmp_path / "a" / "args.txt").read_text()

    argv = [*RUN.split(), "--init_from", str(path)]
    assert started(argv, tmp_path / "whole") == 0
    stop_at(7)
    assert started(argv, tmp_path / "stopped") == 143
    path.unlink()  # it is read once
    stop_at(0)
    assert started(argv, tmp_path / "stopped") == 0
    assert run_digest(tmp_path / "stopped") == run_digest(tmp_path / "whole")


def test_a_head_of_other_classes_stays_fresh(run: Path) -> None:
    network, learned = of_classes(7), read_checkpoint(run / "best.safetensors").weights
    fresh = {name: t.clone() for name, t in network.state_dict().items()}
    assert start_from(network, run / "best.safetensors", 7) == ("head.weight", "head.bias")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, (fresh if name.startswith("head") else learned)[name])


@pytest.mark.slow
def test_weights_of_another_network_are_refused_in_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*RUN.split(), "--init_from", str(run / "best.safetensors"), "--d_mlp", "9"]
    assert started(argv, tmp_path / "a") == 2
    assert "is of another model: " in (message := capsys.readouterr().err)
    assert message.count("\n") == 1
    assert not (tmp_path / "a").exists(), "nothing is written before it is known to be right"
    assert main_train(["--init_from", "x", "--test_only"]) == 2
    assert "--init_from=x applies to training only" in capsys.readouterr().err


# A last batch of one sample, from which batch normalisation of 1x1 maps cannot learn.
DENSE = (
    "--dataset digits --model densenet121 --layer Conv2d --width 0.0625 --limit_test 8 --lr 0.01 --device cpu"
    " --batch_size 4 --limit_train 9"
)


@pytest.mark.slow
def test_a_last_batch_of_one_sample_joins_the_one_before(stop_at, tmp_path: Path) -> None:
    sizes = [len(batch.labels) for batch in load_data("digits", batch_size=4, limit_train=9).train]
    assert sizes == [4, 5]
    assert [len(batch.labels) for batch in load_data("digits", batch_size=4, limit_test=9).test] == [4, 4, 1]
    argv = [*DENSE.split(), "--num_epochs", "1"]
    assert started(argv, tmp_path / "whole") == 0
    stop_at(1)
    assert started(argv, tmp_path / "stopped") == 143
    stop_at(0)
    assert started(argv, tmp_path / "stopped") == 0
    assert run_digest(tmp_path / "stopped") == run_digest(tmp_path / "whole")


@pytest.mark.parametrize(("size", "samples"), [(1, 3), (4, 1), (2, 2), (2, 3), (3, 7), (4, 9)])
def test_processes_share_a_joined_batch(size: int, samples: int) -> None:
    def batches(index: int, count: int) -> list[list[int]]:
        data = load_data("digits", batch_size=size, limit_train=samples, process_index=index, num_processes=count)
        found = [batch.indices.tolist() for batch in data.train]
        assert len(data.train) == len(found)
        data.train.set_epoch(0, len(found) - 1)
        assert [batch.indices.tolist() for batch in data.train] == found[-1:]
        return found

    one, two = batches(0, 1), zip(batches(0, 2), batches(1, 2), strict=True)
    assert one == [first + second for first, second in two]
    assert sorted(index for batch in one for index in batch) == list(range(samples))
    assert size == 1 or samples == 1 or min(map(len, one)) > 1


def test_batches_of_one_are_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert started([*DENSE.split(), "--batch_size", "1"], tmp_path) == 2
    assert "batch normalisation cannot train on the single sample of epoch 1, step 1" in (
        message := capsys.readouterr().err
    )
    assert "raise --batch_size (1)" in message
    assert message.count("\n") == 1


# Threads and machines, on which the last bits depend.


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of threads that would be set."""
    numbers = [3]
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    return numbers


@pytest.mark.slow
def test_a_run_goes_on_with_its_threads(stop_at, threads: list[int], tmp_path: Path, capsys) -> None:
    stop_at(2)
    assert started(RUN.split(), tmp_path) == 143
    assert "threads: 3\n" in (tmp_path / "args.txt").read_text()
    threads.append(1)  # another process
    stop_at(2)
    assert started(RUN.split(), tmp_path) == 143
    assert threads == [3, 3, 1, 3]
    assert "bits may differ" not in capsys.readouterr().out
    stop_at(0)
    assert main_train(["--resume", str(tmp_path), "--threads", "2"]) == 0
    assert threads[-1] == 2
    said = "the last bits may differ from those of an uninterrupted run: the number of threads was 3 and is now 2\n"
    assert said in capsys.readouterr().out


def test_a_run_broken_off_before_its_first_checkpoint_begins_again_with_its_threads(
    threads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyError("killed")

    monkeypatch.setattr(Trainer, "_train_group", die)
    with pytest.raises(KeyError):
        started(RUN.split(), tmp_path)
    assert not (tmp_path / "last.safetensors").exists()
    assert saved_threads(tmp_path) == 3
    for given, expected in (({"resume": "auto"}, 3), ({"resume": "auto", "threads": 2}, 2), ({}, 1)):
        threads.append(1)
        config = fix_threads(TrainConfig(output_dir=str(tmp_path), **given), is_new=True)
        assert threads[-1] == config.threads == expected


@pytest.mark.parametrize("text", ["threads: x\n", "threads: 0\n", "threads: 99999\n", "nothing", ""])
def test_an_args_file_that_says_no_threads_says_nothing(text: str, tmp_path: Path) -> None:
    assert saved_threads(tmp_path) is None
    (tmp_path / "args.txt").write_text(text)
    assert saved_threads(tmp_path) is None


@pytest.mark.parametrize("name", ["core", "vectors", "torch"])
def test_what_cannot_be_restored_is_said_in_one_line(name: str) -> None:
    assert describe_change(describe_machine()) is None
    message = describe_change(describe_machine() | {name: "another"})
    assert f"was another and is now {describe_machine()[name]}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "machine",
    [None, {}, 3, []],
)
def test_a_machine_that_no_run_has_written_is_refused(machine: object) -> None:
    with pytest.raises(InputError, match="machine="):
        check_machine(machine)


@pytest.mark.parametrize("change", [{"threads": 0}, {"threads": True}, {"threads": 10**6}, {"torch": 3}, {"more": 1}])
def test_one_wrong_word_about_a_machine_is_refused(change: dict) -> None:
    with pytest.raises(InputError, match="machine="):
        check_machine(describe_machine() | change)
