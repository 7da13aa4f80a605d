"""Tests of flags from files: what is read, what takes precedence, and every error."""

import json
from dataclasses import fields
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convnn.cli import main, main_train
from convnn.cli._flags import add_config_flags, config_from
from convnn.cli._parser import Parser
from convnn.cli.train import train
from convnn.models import layers_for, list_models, own_loss_of
from convnn.train import TrainConfig
from convnn.train.config_file import read_config_file, value_type
from convnn.train.flags import choices_of, largest
from convnn.train.folder import args_text
from pairwise import one_in

PRINTED = st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])
PATHS = st.text(PRINTED, min_size=1, max_size=12)


def values_of(f):
    """Return a strategy for the values of a flag that are valid with any others."""
    kind, choices = value_type(f.type), choices_of(f)
    if f.name == "imports":
        values = st.sampled_from(["my_layers", "a.b,c", "/home/ann/my_layers.py,d"])
    elif f.name == "checkpoint_every":
        values = st.from_regex(r"[1-9][0-9]{0,4}[smh]?", fullmatch=True)
    elif f.name in ("share_kernels", "reduce_tokens"):  # not with --fsdp
        values = st.just("none")
    elif choices or kind is bool:
        values = st.sampled_from(choices or (False, True))
    elif f.name in ("warmup_epochs", "num_epochs"):  # fewer than, and some networks have few
        values = st.integers(0, 2) if f.name == "warmup_epochs" else st.integers(3, 10**9)
    elif kind is int:
        values = st.integers(f.metadata["least"] or 1, min(int(largest(f)), 10**9))
    elif kind is float:
        above = f.metadata["above"]
        values = st.floats(above or 0, largest(f), exclude_min=above is not None)
    else:
        values = PATHS.filter(lambda text: (text != "None" or kind is f.type) and not text.startswith("~"))
    return values if kind is f.type else st.none() | values


NETWORKS = [(m, one) for m in list_models() for one in layers_for(m)]
NOT_WITH_ANY = ("pretrained", "objective", "distill", "distill_checkpoint", "kernel_decay", "nyquist_weight")
"""Flags that go with some values of others only."""

OTHERS = {f.name: values_of(f) for f in fields(TrainConfig) if f.name not in ("model", "layer", *NOT_WITH_ANY)}
NOT_WITH_OWN_LOSS = ("criterion", "fsdp")


def together(network: tuple[str, str], others: dict[str, object]) -> dict[str, object]:
    """Return flags of a network and others, without those that it excludes."""
    left_out = NOT_WITH_OWN_LOSS if own_loss_of(network[0]) else ()
    kept = {name: value for name, value in others.items() if name not in left_out}
    return dict(zip(("model", "layer"), network, strict=True)) | kept


FLAGS = st.builds(
    together,
    st.sampled_from(NETWORKS),
    st.fixed_dictionaries({}, optional=OTHERS),
)
QUICKLY = settings(max_examples=50, deadline=None)


def read(text: str, folder: Path, name: str) -> TrainConfig:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return TrainConfig(**read_config_file(path))


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", 'magnitude_type = "matmul"'), ("a.txt", "magnitude_type: matmul")]
)
def test_published_names_are_read(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_config_file(tmp_path / name) == {"metric": "matmul"}


def test_published_names_are_flags() -> None:
    parser = Parser()
    add_config_flags(parser)
    for flag in ("--metric", "--magnitude_type"):
        assert config_from(parser.parse_strictly([flag, "matmul"])).metric == "matmul"


def toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def arguments(config: TrainConfig) -> str:
    """Return the text that a run writes as args.txt."""
    data = SimpleNamespace(num_classes=10, input_shape=(3, 32, 32))
    return args_text(config, data, SimpleNamespace(parameters=7, trainable=7, gflops=0.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flags")


@pytest.mark.slow
@given(flags=FLAGS)
@QUICKLY
def test_args_txt_gives_the_same_configuration_back(folder: Path, flags: dict) -> None:
    config = TrainConfig(**flags)
    assert read(arguments(config), folder, "args.txt") == config


@pytest.mark.slow
@given(flags=FLAGS)
@QUICKLY
def test_a_toml_file_says_what_flags_say(folder: Path, flags: dict) -> None:
    said = {name: value for name, value in flags.items() if value is not None}  # TOML has no null
    text = "".join(f"{name} = {toml(value)}\n" for name, value in said.items())
    assert read(text, folder, "flags.toml") == TrainConfig(**said)


@pytest.mark.parametrize(("line", "value"), [("lr = 1", 1.0), ("lr = 1e-2", 0.01), ("lr = +0.5", 0.5), ("lr: 1", 1.0)])
def test_whole_numbers_are_floats_where_floats_are_expected(line: str, value: float, tmp_path: Path) -> None:
    lr = read(line, tmp_path, "a.toml" if "=" in line else "args.txt").lr
    assert (type(lr), lr) == (float, value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "lr = 0.001 # the default\n", "\n\nlr = 1_000e-6\r\n"])
def test_comments_and_blank_lines_say_nothing(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path, "flags.toml") == TrainConfig()


def test_a_mark_of_the_encoding_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read("\ufefflr = 1", tmp_path, "FLAGS.TOML").lr == 1
    assert read("\ufefflr: 1", tmp_path, "args.txt").lr == 1


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return the configuration of `main.py --config FILE FLAGS`."""
    seen = []
    monkeypatch.setattr("convnn.cli.train.train", lambda given, *others: seen.append(TrainConfig(**given)))

    def ask(text: str, flags: str = "", name: str = "flags.toml") -> TrainConfig:
        path = tmp_path / name
        path.write_text(text)
        for start in ([], ["train"]):
            assert (main if start else main_train)([*start, "--config", str(path), *flags.split()]) == 0
        assert seen[-1] == seen[-2]
        return seen[-1]

    return ask


def test_the_command_line_goes_before_the_file(ask) -> None:
    config = ask("lr = 0.1\nK = 4\naugment = true\nsync_batchnorm = false\n", "--lr 0.2 --num_epochs 3")
    expected = {"lr": 0.2, "K": 4, "augment": True, "sync_batchnorm": False, "num_epochs": 3}
    assert config == TrainConfig(**expected)


def test_defaults_and_opposites_on_the_command_line_count_as_given(ask) -> None:
    text = "lr = 0.1\naugment = true\nsync_batchnorm = false\nresume = 'x'\n"
    config = ask(text, "--lr 0.001 --no-augment --sync_batchnorm --resume")
    assert config == TrainConfig(resume="auto")


@pytest.mark.parametrize("name", ["data_path", "output_dir", "resume", "checkpoint"])
def test_a_home_in_a_file_or_a_flag_is_expanded(name: str, ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert getattr(ask(f"{name} = '~/here'"), name) == "/home/ann/here"
    assert getattr(ask("", f"--{name} ~/here"), name) == "/home/ann/here"


NO_PATHS = (
    "model",
    "imports",
    "where",
    "checkpoint_every",
    "kernel_sizes",
    "k_conv",
    "horizon",
    "kernel_mode",
    "grid_range",
    *("ego_sizes", "aggr", "context_aggr", "aggregators", "scalers", "exponents"),
    *("distill", "distill_weights", "distill_exponents", "distill_layers", "drop_edges", "drop_features"),
    "choice_weights",
)


def test_every_flag_that_names_a_file_or_folder_knows_homes() -> None:
    texts = [f for f in fields(TrainConfig) if value_type(f.type) is str and not choices_of(f)]
    assert {f.name for f in texts if not f.metadata["is_path"]} == set(NO_PATHS)


# One does not train, the other is for networks of other libraries.
SWITCHES = [f.name for f in fields(TrainConfig) if f.type is bool and f.name != "test_only"]  # that does not train


@pytest.mark.parametrize(("name", "value"), one_in(5, product(SWITCHES, [True, False])))
def test_whatever_a_file_switches_the_command_line_switches_back(name: str, value: bool, ask) -> None:
    model = " --model torchvision:resnet18" if name == "pretrained" else ""
    assert getattr(ask(f"{name} = {toml(value)}", f"--{'no-' if value else ''}{name}{model}"), name) is not value


def test_what_neither_names_depends_on_the_network(ask) -> None:
    assert ask('model = "vit"\n') == TrainConfig(model="vit")
    assert ask("lr = 0.1\n", "--model vit_base") == TrainConfig(model="vit_base", lr=0.1)
    assert ask("lr = 0.1\n", "--model vit_base").d_hidden == 768
    assert ask('model = "vit"\nK = 4\n', "--model resnet18") == TrainConfig(model="resnet18", K=4)


def test_a_later_file_replaces_an_earlier_one(ask, tmp_path: Path) -> None:
    later = tmp_path / "later.toml"
    later.write_text("K = 5")
    assert ask("lr = 0.1", f"--config {later}") == TrainConfig(K=5)


TINY = (
    "--dataset digits --model resnet18 --width 0.0625 --layer ConvNN --K 4 --num_epochs 1 --batch_size 64 --noise 1e-5"
    " --limit_train 64 --limit_test 32 --lr 0.007 --augment --no-sync_batchnorm --scheduler step --checkpoint_every 9"
)


@pytest.mark.slow
def test_a_run_from_the_args_txt_of_a_run_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("convnn.cli.train.train", lambda given, *rest: (asked.append(given), train(given, *rest)))
    first, second = tmp_path / "first", tmp_path / "second"
    assert main_train([*TINY.split(), "--output_dir", str(first)]) == 0
    assert main_train(["--config", str(first / "args.txt"), "--output_dir", str(second)]) == 0
    flags = asked[0] | {"threads": torch.get_num_threads()}  # which a run writes down
    assert TrainConfig(**asked[1]) == TrainConfig(**(flags | {"output_dir": str(second)}))
    assert TrainConfig(**read_config_file(first / "args.txt")) == TrainConfig(**flags)
    assert (first / "metrics.csv").read_text() == (second / "metrics.csv").read_text()


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main_train(["--config", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"main.py: --config={path} ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 300 + len(str(path))
    return captured.err.removeprefix(f"main.py: --config={path} ").removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate = 1", "has the unknown key 'learning_rate'"),
        ("Lr = 1", "has the unknown key 'Lr'; did you mean 'lr'?"),
        ("config = 'more.toml'", "has the unknown key 'config'"),
        ("no-augment = true", "has the unknown key 'no-augment'; did you mean 'augment'?"),
        ("[train]\nlr = 1", "has the unknown key 'train'"),
        ("[lr]\nx = 1", "has lr={'x': 1}, which must be of type float"),
        ("lr.x = 1", "has lr={'x': 1}, which must be of type float"),
        ("[[model]]\nx = 1", "has model=[{'x': 1}], which must be of type str"),
        ("lr = true", "has lr=True, which must be of type float"),
        ("lr = '1'", "has lr='1', which must be of type float"),
        ("lr = 2020-01-01", "has lr=datetime.date(2020, 1, 1), which must be of type float"),
        ("K = true", "has K=True, which must be of type int"),
        ("K = 4.0", "has K=4.0, which must be of type int"),
        ("resize = '8'", "has resize='8', which must be of type int"),
        ("augment = 1", "has augment=1, which must be of type bool"),
        ("augment = 'true'", "has augment='true', which must be of type bool"),
        ("model = 3", "has model=3, which must be of type str"),
        ("model = ['vit']", "has model=['vit'], which must be of type str"),
        ("resume = true", "has resume=True, which must be of type str"),
        ("checkpoint_every = 500", "has checkpoint_every=500, which must be of type str"),
        ("lr", "is not TOML: "),
        ("lr = ", "is not TOML: "),
        ("lr = 1\nlr = 2", "is not TOML: "),
        ("lr: 1", "is not TOML: "),
        ("[", "is not TOML: "),
        ("\0", "is not TOML: "),
        ("seed = " + "9" * 5000, "is not TOML: "),
        ("seed = " + "[" * 50_000, "is not TOML: "),
        ("lr = 1" + "0" * 400, "has lr=1000000"),
        ("lr = '" + "1" * 10_000 + "'", "has lr='11111"),
        ("lr." + "a." * 5000 + "b = 1", "has lr={'a': {'a': "),
        ("a." * 5000 + "b = 1", "has the unknown key 'a'"),
        ('output_dir = "a\\u0000b"', "has output_dir='a\\x00b', which cannot be part of a file name"),
    ],
    ids=lambda text: text[:20],
)
def test_a_toml_file_that_is_wrong_is_named_with_its_key(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flags.toml"
    path.write_text(text)
    assert refusal(path, capsys).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = 1", "has 'lr = 1' in line 1, which must be `key: value`"),
        ("lr: 1\n\nK: 4", "has '' in line 2, which must be `key: value`"),
        ("lr:1", "has 'lr:1' in line 1"),
        ("lr: 1\nK", "has 'K' in line 2"),
        ("lr: 1\nlr: 1", "has 'lr: 1' in line 2, which repeats a key"),
        ("rate: 1", "has the unknown key 'rate'"),
        ("img_side: (3, 8, 8)", "has the unknown key 'img_side'"),
        ("lr: fast", "has lr='fast', which must be of type float"),
        ("lr: None", "has lr='None', which must be of type float"),
        ("lr: True", "has lr='True', which must be of type float"),
        ("K: 4.0", "has K='4.0', which must be of type int"),
        ("K: " + "9" * 5000, "has K='9999"),
        ("resize: wide", "has resize='wide', which must be of type int"),
        ("augment: 1", "has augment='1', which must be of type bool"),
        ("augment: true", "has augment='true', which must be of type bool"),
        ("augment: None", "has augment='None', which must be of type bool"),
    ],
    ids=lambda text: text[:20],
)
def test_an_args_txt_that_is_wrong_is_named_with_its_line_or_key(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "args.txt"
    path.write_text(text)
    assert refusal(path, capsys).startswith(message)


@pytest.mark.parametrize("name", ["flags.toml", "args.txt"])
def test_files_that_cannot_be_read_are_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    assert refusal(path, capsys) == "cannot be read: No such file or directory"
    path.write_bytes(b"lr = 1 # \xe9\n")
    assert refusal(path, capsys).startswith("cannot be read: 'utf-8' codec can't decode byte 0xe9")
    path.unlink()
    path.mkdir()
    assert refusal(path, capsys) == "cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = -1", "--lr=-1.0 must be positive"),
        ("model = 'vgg12'", "--model='vgg12' is not one of"),
        ("checkpoint_every = 'soon'", "--checkpoint_every='soon' must be a number of steps"),
    ],
)
def test_values_out_of_range_name_their_flag(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flags.toml"
    path.write_text(text)
    assert main_train(["--config", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"main.py: {message}")
