"""Tests of every flag, and of every wrong value."""

import errno
import os
import shlex
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest
import torch

from convnn.cli import COMMANDS, main, main_train
from convnn.cli._flags import config_from
from convnn.cli._parser import Parser
from convnn.cli.train import add_flags
from convnn.train import TrainConfig
from convnn.train.config_file import value_type
from convnn.train.flags import largest, option_of
from pairwise import one_in
from published_examples import PUBLISHED_EXAMPLES


def _parse(text: str) -> TrainConfig:
    parser = Parser()
    add_flags(parser)
    return config_from(parser.parse_strictly(shlex.split(text)))


@pytest.mark.parametrize("example", PUBLISHED_EXAMPLES)
def test_published_examples_parse(example: str) -> None:
    words = shlex.split(example)
    config = _parse(example)
    for name, value in zip(words, [*words[1:], "--"], strict=True):
        if name.startswith("--") and not value.startswith("--"):
            parsed = getattr(config, name[2:])
            assert parsed == type(parsed)(value)
        elif name.startswith("--"):
            assert getattr(config, name[2:]) is True


def test_no_flags_are_the_defaults() -> None:
    assert _parse("") == TrainConfig()
    assert _parse("--model vit") == TrainConfig(model="vit")
    assert _parse("--model vit_base --lr 1e-3 --resize 64") == TrainConfig(model="vit_base", lr=1e-3, resize=64)


def test_a_flag_that_is_on_can_be_turned_off() -> None:
    assert _parse("--model vit --softmax_topk_val").softmax_topk_val is True
    assert _parse("--model vit --no-softmax_topk_val").softmax_topk_val is False


def test_help_shows_defaults_that_depend_on_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main_train(["--help-all"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "initial learning rate (default: 0.001; vit: 0.0005)" in printed
    assert "width of ViT's tokens, channels of networks on sequences and graphs, of diffusesg and gmcn, and" in printed
    assert "inside of the couplings of finc_flow and of common (default: 192;" in printed


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--help"])
    assert exit_.value.code == 0
    assert "usage: convnn" in capsys.readouterr().out


def _help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(["train", *argv])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_all_names_every_flag_by_the_layers_that_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    printed = _help(["--help-all"], capsys)
    assert all(option_of(f) in printed for f in fields(TrainConfig))
    of_one = printed.split("\nread by ConvNN_Pos:\n")[1].split("\n\n")[0]
    flags = {line.split()[0] for line in of_one.splitlines() if line.startswith("  --")}
    assert flags == {"--reach", "--choosing", "--prefer"}


@pytest.mark.parametrize("argv", [["--layer", "ConvNN_Pos", "--help"], ["--help", "--layer=ConvNN_Pos"]], ids=" ".join)
def test_help_is_short_and_of_the_layer_that_is_named(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    printed = _help(argv, capsys)
    assert len(printed.splitlines()) < 80
    assert "flags of --layer ConvNN_Pos:" in printed
    assert "--reach" in printed
    assert "(default: matmul)" in printed, "the metric of this layer"
    assert "--sampling_type" not in printed
    assert printed.count("\n  convnn train --") == 3
    assert "--num_heads" in _help(["--help", "--model", "vit"], capsys)


@pytest.mark.parametrize("argv", [["--help"], ["--help", "--layer", "CovNN"], ["--help", "--layer"]], ids=" ".join)
def test_help_without_a_layer_is_of_the_usual_one(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "flags of --layer ConvNN:" in _help(argv, capsys)


@pytest.mark.parametrize(
    ("command", "model", "sets"),
    [
        ("segment", "unet", "masks,shapes"),
        ("match", "dkm", "motions,flowfolder"),
        ("surface", "kernel_field", "clouds,ply"),
        ("generate", "finc_flow", "cifar10,cifar100,imagenet,imagefolder,digits"),
        ("code", "dcvc", "moving_crops,moving_textures,frames"),
        ("recommend", "recommender", "hidden_groups,lastfm,interactions"),
        ("knowledge", "transe", "paraphrases,triples,wn18rr,qualified,statements"),
    ],
)
def test_help_of_an_application_is_of_its_usual_network(command: str, model: str, sets: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main([command, "train", "--help"])
    printed = capsys.readouterr().out
    assert f"(default: {model})" in printed
    assert f"--dataset {{{sets}}}" in printed
    assert "resnet18" not in printed


def _refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main_train(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, "one line"
    return captured.err


@pytest.mark.parametrize("name", one_in(6, [option_of(f).removeprefix("--") for f in fields(TrainConfig)]))
def test_a_wrong_letter_in_any_flag_is_refused_with_the_right_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = name + "x" if len(name) < 3 else name[:2] + "x" + name[2:]
    assert f"unknown flag --{wrong}" in (message := _refusal([f"--{wrong}", "1"], capsys))
    if len(name) > 2:
        assert f"did you mean '--{name}'?" in message


@pytest.mark.parametrize("flag", ["--mod", "--lay", "--num_ep", "--out"])
def test_abbreviations_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"unknown flag {flag}" in _refusal([flag, "1"], capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--model vgg12", "--model='vgg12' is not one of"),
        ("--layer convnn", "did you mean 'ConvNN'?"),
        ("--K nine", "--K: invalid int value: 'nine'"),
        ("--lr", "--lr: expected one argument"),
        ("--padding -1", "--padding=-1 must be an integer of at least 0"),
        ("--branch_ratio 2", "--branch_ratio=2.0 must lie between 0 and 1"),
        ("stray", "unknown argument stray"),
        ("--dataset cifar11", "did you mean 'cifar10'?"),
        ("--dataset cifar10 --data_path nowhere", "nowhere"),
        ("--dataset imagefolder --data_path nowhere", "nowhere"),
        ("--checkpoint best.safetensors", "--checkpoint=best.safetensors applies to --test_only"),
        ("--test_only --checkpoint none.safetensors", "checkpoint 'none.safetensors' is not a file"),
        ("--test_only --dataset imagefolder", "--dataset=imagefolder has no fixed image shape"),
        ("--test_only --width 0.0625 --padding 0", "--K=9 is more than the 4 positions of a 2x2 map with --padding=0"),
        ("--test_only --width 0.0625 --sampling_type random --num_samples 4", "num_samples=4 gives 4 candidates"),
        ("--test_only --sampling_type all --num_samples 4", "--num_samples=4 must be -1 with --sampling_type='all'"),
        ("--test_only --shuffle_pattern BA", "shuffle_scale=0 must be an integer of at least 1"),
        (
            "--test_only --width 0.0625 --shuffle_pattern BA --shuffle_scale 3",
            "shuffle_scale=3 must divide every side of the 32x32 map",
        ),
        (
            "--model vit --layer ConvNN",
            "--layer='ConvNN' reads maps; --model='vit' is built of layers that read tokens",
        ),
        ("--model vit --test_only --resize 100", "images of 100x100 pixels must have sides that are multiples of"),
        ("--model vit --test_only --d_hidden 100", "--d_hidden=100 must be a multiple of --num_heads=3"),
        ("--model vit --test_only --layer KvtAttention --K 300", "K=300 is more than the 197 tokens of the input"),
        (
            "--model ckcnn --layer SMPConv --dataset sequential_digits --test_only",
            "--radius=None follows from the number of taps, and --horizon='same' is no number; give --radius=0.06",
        ),
        ("--test_only --layer ConvNN_Attn --metric matmul", "'matmul' is not one of cosine, euclidean"),
        ("--test_only --dataset digits", "8x8 pixels are too small for VGG"),
    ],
)
def test_bad_input_is_one_line_that_names_it(argv: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in _refusal(argv.split(), capsys)


PATHS = [
    *(["train", f"--{name}"] for name in ("config", "data_path", "output_dir", "resume", "checkpoint")),
    ["evaluate"],
    *(["predict", *words] for words in (["x"], ["x", "cat.jpg", "--out"])),
    *(["neighbors", *words] for words in ([], ["x", "--out"], ["x"])),
    *(["statistics", *words] for words in ([], ["x", "--out"])),
    *(["export", *words] for words in (["--out", "x"], ["x", "--out"])),
    *(["compare", *words] for words in ([], ["a", "b", "--out"])),
    *(["sweep", *words] for words in ([], ["study.toml", "--out"])),
]


@pytest.mark.parametrize("path", ["", "~nobody-here/x"])
@pytest.mark.parametrize("argv", PATHS, ids=" ".join)
def test_an_empty_path_and_the_home_of_nobody_are_refused_everywhere(
    argv: list[str], path: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*argv, path]) == 2
    message = capsys.readouterr().err
    assert ("is not a path; name a file or folder" if path == "" else "begins with ~nobody-here") in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_commands_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "trian" in capsys.readouterr().err


FIELDS = {f.name: f for f in fields(TrainConfig)}
NUMBERS = {f.name: value_type(f.type) for f in FIELDS.values() if value_type(f.type) in (int, float)}
SIGNED = ("degree_exponent", "delta", "decay_min", "decay_max")
"""Of which a run can have negative ones."""
NO_NUMBERS = ("nan", "inf", "-inf", "-2", "1" + "0" * 40, "1e400", "", " ", "0x10")
REFUSED = [case for case in product(NUMBERS, NO_NUMBERS) if case not in product(SIGNED, ("-2",))]


@pytest.mark.parametrize(("name", "value"), one_in(22, REFUSED))
def test_every_number_is_refused_that_no_run_can_have(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"--{name}" in _refusal([f"--{name}={value}"], capsys)


@pytest.mark.parametrize("name", one_in(4, NUMBERS))
def test_a_number_beyond_the_largest_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    most = largest(FIELDS[name])
    value = str(most + 1 if NUMBERS[name] is int else most * 1.1)
    assert f"--{name}" in _refusal([f"--{name}={value}"], capsys)


@pytest.mark.parametrize(("name", "value"), [("seed", 2**32 - 1), ("K", 2**28), ("width", 1000.0), ("resize", 2**14)])
def test_the_largest_number_is_no_mistake(name: str, value: float) -> None:
    assert getattr(TrainConfig(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--seed 4294967296", "--seed=4294967296 must be at most 4294967295"),
        ("--width inf", "--width=inf must be at most 1000.0"),
        ("--resize 100000", "--resize=100000 must be at most 16384"),
        ("--resize 0 --test_only", "--resize=0 must be an integer of at least 1"),
        ("--K 99999999999", "--K=99999999999 must be at most 268435456"),
    ],
)
def test_numbers_that_nothing_could_be_built_of_are_refused(argv: str, message: str, capsys) -> None:
    assert message in _refusal(argv.split(), capsys)


def said_of(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the message of the command line for this error."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("convnn.cli.train.train", fail)
    return _refusal([], capsys)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory; use smaller batches"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0"),
            "memory: an allocation of 20.00 GiB failed",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes."),
            ": an allocation of 40 bytes failed",
        ),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
            ": an allocation of 8 bytes failed",
        ),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out of memory; use smaller batches"),
        (OSError("Caught OSError in DataLoader worker process 0.\n[Errno 12] Cannot allocate memory"), "out of memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "open files; raise the limit"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "Killed; if memory is short, lower"),
    ],
)
def test_what_the_machine_lacks_is_one_sentence(error: BaseException, message: str, monkeypatch, capsys) -> None:
    assert message in said_of(error, monkeypatch, capsys)


def test_what_is_ours_to_mend_is_no_sentence(monkeypatch, capsys) -> None:
    with pytest.raises(RuntimeError, match="shape"):
        said_of(RuntimeError("a shape is wrong"), monkeypatch, capsys)
