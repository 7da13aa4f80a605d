"""Tests of one-letter misspellings of every flag of every command, and every key of a configuration file."""

import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from convnn.cli import COMMANDS, command_parser, main, main_train
from convnn.errors import InputError, did_you_mean
from convnn.train import TrainConfig
from convnn.train.config import PUBLISHED_NAMES
from convnn.train.config_file import read_config_file
from convnn.train.flags import option_of, value_type
from pairwise import one_in

ALPHABET = string.ascii_lowercase + string.digits + "_-"
KEYS = [f.name for f in fields(TrainConfig)]


def mistakes(name: str, letters: str) -> set[str]:
    """Return `name` with a letter replaced or preceded by one of `letters`, omitted, doubled, swapped, or recased."""
    places = range(len(name))
    wrong = {name[:i] + letter + name[i + 1 :] for i in places for letter in letters}
    wrong |= {name[:i] + letter + name[i:] for i in [*places, len(name)] for letter in letters}
    wrong |= {name[:i] + name[i + 1 :] for i in places}
    wrong |= {name[:i] + name[i] + name[i:] for i in places}
    wrong |= {name[:i] + name[i].swapcase() + name[i + 1 :] for i in places} | {name.upper(), name.title()}
    wrong |= {name[:i] + name[j] + name[i] + name[j + 1 :] for i, j in pairwise(places)}
    return wrong - {name, ""}


def mistakes_in_flag(flag: str, letters: str) -> set[str]:
    """Return the mistakes in the name of a flag, and the flag with a dash fewer or more."""
    name = flag.lstrip("-")
    dashes = flag.removesuffix(name)
    return (
        {dashes + wrong for wrong in mistakes(name, letters)}
        | ({f"-{name}"} if dashes == "--" else set())
        | {f"-{flag}"}
    )


def origins(names: Iterable[str], wrong_forms: Callable[[str, str], set[str]]) -> dict[str, set[str]]:
    """Return the names from which each mistake, ignoring case, is one letter away."""
    found = defaultdict(set)
    for name in names:
        for wrong in wrong_forms(name, ALPHABET):
            found[wrong.lower()].add(name)
    return found


PARSERS = {command: command_parser(command) for command in COMMANDS}
ORIGINS = {command: origins(parser.flags(), mistakes_in_flag) for command, parser in PARSERS.items()}
KEY_ORIGINS = origins(KEYS, mistakes)
ALL_FLAGS = [
    param
    for command, parser in PARSERS.items()
    for param in one_in(72, ((command, flag) for flag in parser.flags() if flag != "-h"))
]


def refusal(command: str, argv: list[str]) -> str:
    with pytest.raises(InputError) as error:
        PARSERS[command].parse_strictly(argv)
    return str(error.value)


def suggested(message: str) -> str:
    return message.partition("; did you mean '")[2].removesuffix("'?")


def test_flags_are_those_of_the_configuration_and_their_reverse() -> None:
    expected = {option_of(f) for f in fields(TrainConfig)} | {"-h", "--help", "--help-all", "--config"}
    expected |= {f"--{name}" for name in PUBLISHED_NAMES}
    expected |= {f"--no-{f.name}" for f in fields(TrainConfig) if value_type(f.type) is bool}
    assert set(PARSERS["train"].flags()) == expected


@pytest.mark.parametrize(("command", "flag"), ALL_FLAGS)
def test_every_mistake_in_a_flag_is_refused_with_the_right_flag(command: str, flag: str) -> None:
    known = PARSERS[command].flags()
    tried = 0
    for wrong in sorted(mistakes_in_flag(flag, "er_-X") - set(known)):
        message = refusal(command, [wrong, "1"])
        assert message.startswith(f"unknown flag {wrong}; did you mean '"), wrong
        assert suggested(message) in ORIGINS[command][wrong.lower()], message
        if len(ORIGINS[command][wrong.lower()]) == 1:
            assert suggested(message) == flag, message
            tried += 1
    assert tried > 10 * len(flag.lstrip("-")) or len(flag.lstrip("-")) == 1


def test_the_only_mistakes_with_two_answers_are_between_these_flags() -> None:
    """These are one letter from two flags: `--l`, `--match_size`, `--resuze`, `--h`, `--sut`, `--seep`, `--fut`, ..."""
    near = {frozenset(names) for found in ORIGINS.values() for names in found.values()}
    several = ({name for name in names if len(name.lstrip("-")) > 1} for names in near)  # single letters are all near
    twice = {frozenset(names) for names in several if len(names) > 1}
    expected = [("--batch_size", "--patch_size"), ("--resize", "--resume")]
    expected += [("--out", "--set"), ("--seed", "--step"), ("--fit", "--out"), ("--kernel_size", "--kernel_sizes")]
    expected += [("--reach", "--search"), ("--d_hidden", "--no_hidden"), ("--no_layers", "--num_layers")]
    expected += [("--num_gsamples", "--num_samples"), ("--decay_max", "--decay_min"), ("--lam", "--lr")]
    expected += [("--basis", "--mass"), ("--act", "--add"), ("--act", "--fit"), ("--eps", "--hops")]
    expected += [("--heads", "--threads"), ("--init", "--n_init"), ("--kernel", "--kernels"), ("--probe", "--probes")]
    expected += [("--keep", "--step"), ("--keep", "--seed"), ("--help", "--keep"), ("--keep", "--seed", "--step")]
    expected += [
        ("--missing", "--mixing"),
        ("--count", "--out"),
        ("--level", "--levels"),
        ("--tau", "--tol"),
        ("--first", "--fit"),
    ]
    expected += [("--iou_weight", "--out_weight"), ("--mlp_experts", "--top_experts")]
    for no in ("", "no-"):
        learned = [f"--{no}learn_{letter}" for letter in "pty"]
        expected += [learned, *combinations(learned, 2)]
    assert twice == set(map(frozenset, expected))
    assert sum(len(names) > 1 for names in ORIGINS["train"].values()) < 0.005 * len(ORIGINS["train"])


@pytest.mark.parametrize(("command", "flag"), ALL_FLAGS)
def test_the_command_line_says_so_in_one_line_and_ends_with_2(
    command: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = len(flag) // 2
    wrong = flag[:place] + "Q" + flag[place:]
    positions = ["best.safetensors"] if command in ("evaluate", "predict") else []
    assert main([command, *positions, wrong, "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"convnn: unknown flag {wrong}; did you mean '{flag}'?\n"
    assert f"convnn: {refusal(command, [*positions, f'{wrong}=1'])}\n" == captured.err


@pytest.mark.parametrize("argv", [["--versoin"], ["--versoin", "train"], ["--versio=3"]], ids=str)
def test_a_mistake_ahead_of_the_command_is_refused_too(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err.endswith("; did you mean '--version'?\n")


def test_main_py_says_it_under_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train(["--K", "4", "--learning-rate", "1", "--num-epochs", "3"]) == 2
    assert capsys.readouterr().err == "main.py: unknown flag --learning-rate; did you mean '--lr'?\n"
    assert main_train(["--K", "4", "--num-epochs", "3"]) == 2
    assert capsys.readouterr().err == "main.py: unknown flag --num-epochs; did you mean '--num_epochs'?\n"


@pytest.mark.parametrize("argv", [["--num_samples", "-1"], ["--output_dir", "-my runs"], ["--data_path=--lrr"]])
def test_values_are_not_taken_for_flags(argv: list[str]) -> None:
    name, _, value = " ".join(argv).replace("=", " ", 1).partition(" ")
    assert str(getattr(PARSERS["train"].parse_strictly(argv), name[2:])) == value


def test_what_follows_two_dashes_is_no_flag() -> None:
    assert PARSERS["predict"].parse_strictly(["b", "--", "--lrr.png"]).images == ["--lrr.png"]


def keys_with_mistakes(keys: list[str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        for wrong in sorted(mistakes(key, "e_") - set(KEYS)):
            yield key, wrong


@pytest.mark.parametrize("keys", [KEYS[::36], pytest.param(KEYS, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize(("name", "line"), [("flags.toml", "{} = 1\n"), ("args.txt", "{}: 1\n")])
def test_every_mistake_in_a_key_is_refused_with_the_right_key(
    name: str, line: str, keys: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    tried = 0
    for key, wrong in keys_with_mistakes(keys):
        path.write_text(line.format(wrong))
        with pytest.raises(InputError) as error:
            read_config_file(path)
        assert str(error.value).startswith(f"--config={path} has the unknown key {wrong!r}; did you mean '")
        assert suggested(str(error.value)) in KEY_ORIGINS[wrong.lower()]
        if len(KEY_ORIGINS[wrong.lower()]) == 1:
            assert suggested(str(error.value)) == key
            tried += 1
    assert tried > 40 * len(keys)


def test_a_mistake_in_a_key_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "flags.toml"
    path.write_text("lr = 0.1\nnum_epoch = 3\n")
    assert main_train(["--config", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"main.py: --config={path} has the unknown key 'num_epoch'; did you mean 'num_epochs'?\n"
    )


@pytest.mark.parametrize(
    ("name", "best"),
    [("teh", "the"), ("th", "the"), ("them", "the"), ("tha", "the"), ("THE", "the"), ("summer", "")],
)
def test_one_letter_is_near_enough_whatever_the_length(name: str, best: str) -> None:
    assert suggested(did_you_mean(name, ["the", "winter"])) == best


def test_the_same_name_in_another_case_is_nearer_than_one_letter() -> None:
    assert suggested(did_you_mean("VGG13", ["vgg11", "vgg13", "vgg16"])) == "vgg13"
