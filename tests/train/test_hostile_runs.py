"""Forged runs in files whose digest fits are refused in one sentence, before anything is built or memory grows."""

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from convnn.cli import main_train
from convnn.data import LabelledData, load_data
from convnn.errors import InputError
from convnn.models import create_model, list_models
from convnn.train import TrainConfig, Trainer, find_resume_point, load_checkpoint
from convnn.train.device import make_accelerator
from convnn.train.flags import choices_of, value_type
from convnn.train.resume import CHANGEABLE
from convnn.train.sealed import read_sealed, write_sealed
from pairwise import one_in

pytestmark = pytest.mark.usefixtures("no_gigabytes")

GONE, NAN, HUGE = object(), math.nan, 10**30
RUN = (
    "--dataset digits --model vit --resize 8 --patch_size 4 --num_layers 1 --num_heads 1 --d_hidden 8 --d_mlp 8"
    " --limit_train 32 --limit_test 16 --batch_size 16 --num_epochs 1 --scheduler step --device cpu"
)


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    return train(RUN)


@pytest.fixture(scope="module")
def data() -> LabelledData:
    return load_data("digits", resize=8, batch_size=16, limit_train=32, limit_test=16)


@pytest.fixture
def crafted(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return the checkpoint of a real run with one change, sealed again."""

    def crafted(place: str, value: Any) -> Path:
        tensors, document = read_sealed(run / "last.safetensors")
        document = copy.deepcopy({name: part for name, part in document.items() if name != "sha256"})
        node: Any = tensors
        keys: list[Any] = [place]
        if place.split(".")[0] in document:
            node, keys = document, [int(key) if key.isdigit() else key for key in place.split(".")]
        for key in keys[:-1]:
            node = node[key]
        if value is GONE:
            del node[keys[-1]]
        else:
            node[keys[-1]] = value(node[keys[-1]]) if callable(value) else value
        write_sealed(tmp_path / "last.safetensors", tensors, document)
        return tmp_path / "last.safetensors"

    return crafted


def resume(path: Path, data: LabelledData) -> None:
    """Run the command line."""
    point = find_resume_point({"resume": str(path)}, warn=print)
    config = point.config
    network = create_model(config.model, config.layer, in_channels=1, width=config.width, **config.settings)
    trainer = Trainer(network, data, config, make_accelerator(torch.device("cpu")))
    trainer.resume(point.checkpoint, point.path)


def refusal(path: Path, data: LabelledData) -> str:
    """Return the refusal of a checkpoint that cannot be resumed."""
    content = path.read_bytes()
    with pytest.raises(InputError) as error:
        resume(path, data)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    assert path.read_bytes() == content
    return message


@pytest.mark.slow
def test_what_is_crafted_without_a_change_goes_on(crafted, capsys: pytest.CaptureFixture[str]) -> None:
    path = crafted("run.num_samples", 32)
    assert main_train(["--resume", str(path), "--num_epochs", "2"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out


WRONG = (GONE, None, "x", [], {"a": 1})
POSITION, RESULT, SCHEDULE = "run.position.", "run.results.0.", "run.schedule."
DOCUMENT_CHANGES: dict[str, tuple[Any, ...]] = {
    "recipe": WRONG,
    "run": (3, "x", [], [1], {}),
    "run.config": (*WRONG, {"unknown": 1}),
    "run.config.model": ("vgg99", "vgg11", 3, ["vit"], None),
    "run.config.layer": ("ConvNN", "KvtAttention", 3),
    "run.config.width": (2.0, -1, 1e30, NAN, "x", True),
    "run.config.K": (HUGE, 0, 4.5, "4", None, True),
    "run.config.batch_size": (HUGE, 2**63, 0, "x"),
    "run.config.seed": (HUGE, 2**32, -1),
    "run.config.resize": (10**6, 16384, "8", True),
    "run.config.lr": (NAN, -1.0, "x", [1e-3], None),
    "run.config.data_path": (3, None),
    "run.config.augment": (1, "yes", None),
    "run.config.checkpoint_every": (5, "x", "0s"),
    "run.config.dataset": ("cifar10", "x", 3),
    "run.config.unknown": (1,),
    "run.position": (*WRONG, 3),
    POSITION + "epoch": (GONE, None, "x", -1, 0, 1, 3, 1.5, HUGE, NAN, True, [2]),
    POSITION + "step": (GONE, None, "x", -1, 3, 0.5, HUGE, NAN, True, [0]),
    POSITION + "seconds": (GONE, None, "x", -1.0, NAN, math.inf, [0.0]),
    "run.results": (GONE, None, "x", {}, 3, [], [3], [None], [{}]),
    RESULT + "epoch": (GONE, "x", None, 0, 2, 1.0, HUGE),
    RESULT + "seconds": (GONE, "x", None, -1.0, 0.0, NAN, [1.0]),
    RESULT + "lr": (GONE, "x", None, [1.0]),
    RESULT + "train": (GONE, "x", None, [], [1.0, 1.0], ["a", "b", "c", {}], [1.0, 2.0, 0.5, {}], [1.0, NAN, 0.5, {}]),
    RESULT + "is_best": (GONE, "x", None, 1),
    RESULT + "surprise": (1,),
    RESULT + "test": (GONE, "x", None, [], [1.0, 0.5, 0.5], [1.0, 2.0, 0.5, {}], [1.0, 0.5, 0.5, {"mrr": 0.5}]),
    RESULT + "val": (GONE, "x", [1.0, 1.0, 1.0, {}]),
    "run.optimizer": WRONG,
    "run.optimizer.values": (GONE, None, "x", [1], {"embed.project.weight": {"exp_avg": 3}}, {"nobody": {}}),
    "run.optimizer.groups": (GONE, None, "x", [], [3], [{}]),
    "run.optimizer.groups.0.lr": (GONE, None, "x", -1.0, NAN, math.inf, [1.0], True),
    "run.schedule": (*WRONG, 3),
    SCHEDULE + "last_epoch": (GONE, None, "x", -1, 0, 5, 1.5, HUGE, NAN),
    SCHEDULE + "step_size": (None, "x", 0, -1, 1.5),
    SCHEDULE + "gamma": (None, "x", NAN, 7.0, [0.1]),
    SCHEDULE + "base_lrs": (None, "x", [], [1.0], ["x"], [1e-3, 1e-3]),
    "run.parts": (GONE, None, "x", [], ["train"], ["train", "val", "test"], 3, HUGE),
    "run.config.fit": ("pad", "x", None),
    "run.num_samples": (GONE, None, "x", 31, 32.5, -32),
    "run.broken_images": (GONE, None, "x", {}, [1], 3),
    "run.random": WRONG,
    "run.random.python": (GONE, None, 3, [], [3], [2, None], [3, "x"], ["x", None]),
    "run.random.numpy": (GONE, [], ["PCG64", 1, 0, 0.0], ["MT19937", 10**9, 0, 0.0], ["MT19937", -1, 0, 0.0]),
}


@pytest.mark.parametrize("last", one_in(2, [1, 99]))
@pytest.mark.parametrize("place", one_in(3, DOCUMENT_CHANGES))
def test_a_run_that_makes_no_sense_is_refused(place: str, last: int, crafted, data: LabelledData, capsys) -> None:
    for value in DOCUMENT_CHANGES[place][-last:]:
        assert refusal(crafted(place, value), data)
    assert main_train(["--resume", str(crafted(place, DOCUMENT_CHANGES[place][0]))]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def another(kind: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda t: t.to(kind)


def full(value: float) -> Callable[[Tensor], Tensor]:
    return lambda t: torch.full_like(t, value)


SHAPES = (GONE, torch.zeros(0), torch.zeros(10**6), torch.zeros(3, 3), lambda t: t.flatten()[:-1].clone())
FIRST = "embed.project.weight"
TRAINED = f"network.{FIRST}"
TENSOR_CHANGES: dict[str, tuple[Any, ...]] = {
    f"optimizer/exp_avg/{TRAINED}": (
        *SHAPES,
        torch.zeros(()),
        another(torch.float64),
        another(torch.int32),
        full(NAN),
    ),
    f"optimizer/exp_avg_sq/{TRAINED}": (*SHAPES, another(torch.complex64), another(torch.float16), full(NAN)),
    f"optimizer/step/{TRAINED}": (GONE, torch.zeros(0), torch.zeros(1), another(torch.int64), full(NAN)),
    "optimizer/exp_avg/nobody": (torch.zeros(3),),
    f"optimizer/odd/{TRAINED}": (torch.zeros(3),),
    "optimizer/odd": (torch.zeros(3),),
    "optimizer/a/b/c": (torch.zeros(3),),
    "random/python": (*SHAPES, torch.zeros(()), full(-1), full(2**62), another(torch.float64), full(700)),
    "random/numpy": (*SHAPES, torch.zeros(()), full(-1), full(2**62), another(torch.float64)),
    "random/torch": (*SHAPES, torch.zeros(()), full(255), full(0), another(torch.int64)),
    "scores/sums": (GONE, torch.zeros(0), torch.zeros(()), torch.zeros(4), torch.zeros(0, 4), full(NAN), full(-1)),
    FIRST: (*SHAPES, full(NAN), full(math.inf), another(torch.float64)),
    "nobody": (torch.zeros(3),),
}


@pytest.mark.parametrize("last", one_in(2, [3, 99]))
@pytest.mark.parametrize("place", TENSOR_CHANGES)
def test_tensors_that_do_not_fit_are_refused(place: str, last: int, crafted, data: LabelledData, capsys) -> None:
    for value in TENSOR_CHANGES[place][-last:]:
        assert refusal(crafted(place, value), data)
    assert main_train(["--resume", str(crafted(place, TENSOR_CHANGES[place][0]))]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("place", [place for place in TENSOR_CHANGES if "/" not in place])
def test_weights_that_do_not_fit_load_nowhere(place: str, crafted) -> None:
    for value in TENSOR_CHANGES[place]:
        with pytest.raises(InputError, match=r"is of another model|has weights that are not finite"):
            load_checkpoint(crafted(place, value))


RECIPE_CHANGES: dict[str, tuple[Any, ...]] = {
    "mean": ([], [0.5, 0.5], [NAN], [math.inf], ["x"], 0.5),
    "std": ([], [0.5, 0.5], [0.0], [-1.0], [NAN], [math.inf]),
    "input_shape": ([1, 8], [3, 8, 8], [1, 8, 10**9], [1, -8, 8], [1, 8, 8.0]),
    "width": (1e30, 1e-30, 3.0, -1.0, 0, NAN, math.inf, 100.0),
    "classes": ([], ["a"], [1], 3, ["a"] * 10**5),
    "settings.padding": (33, 10**6, HUGE),
    "settings.num_layers": (10**9, HUGE),
    "settings.dropout": (2.0, NAN, -1.0),
    "settings.patch_size": (10**6, 0, "x", [4], HUGE),
    "settings.d_mlp": (10**9, HUGE, 0, 8.5),
    "settings.unknown": (1,),
    "settings.device": ("cuda",),
    "settings.in_channels": (3,),
}


@pytest.mark.parametrize("place", RECIPE_CHANGES)
def test_a_recipe_that_no_weights_bear_out_is_refused(place: str, crafted, data: LabelledData) -> None:
    for value in RECIPE_CHANGES[place]:
        path = crafted(f"recipe.{place}", value)
        with pytest.raises(InputError, match=r"^checkpoint '[^\n]*$"):
            load_checkpoint(path)
        assert refusal(path, data)


NOT_OF_VGG = ("pretrained", "reduce_tokens", "values", "distill_checkpoint")
"""Flags that are refused beside the network of the run, whatever the run had."""
SAVED = {f.name: f for f in fields(TrainConfig) if f.name not in CHANGEABLE}


def other_value(f, value: Any) -> list[str]:
    """Return flags with a value other than `value`."""
    if value_type(f.type) is bool:
        return [f"--no-{f.name}" if value else f"--{f.name}"]
    if choices := choices_of(f) or (list_models() if f.name == "model" else None):
        return [f"--{f.name}", next(one for one in choices if one != value)]
    if isinstance(value, float):
        return [f"--{f.name}", str(value / 2 + 0.125)]
    return [f"--{f.name}={(value or 0) + 1 if isinstance(value, int | None) else f'{value}x'}"]


@pytest.mark.parametrize("name", one_in(24, [name for name in SAVED if name not in NOT_OF_VGG]))
def test_a_flag_that_differs_from_the_run_is_refused_by_name(name: str, run: Path, capsys) -> None:
    before = getattr(find_resume_point({"resume": str(run)}, warn=print).config, name)
    content = (run / "last.safetensors").read_bytes()
    argv = other_value(SAVED[name], before)
    assert main_train(["--resume", str(run), *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out in ("", f"not read by vgg11 of ConvNN: --{name}\n")
    assert captured.err.startswith(f"main.py: --{name}=")
    assert f"differs from {before}, its value in the run of {run / 'last.safetensors'}" in captured.err
    assert captured.err.count("\n") == 1
    assert (run / "last.safetensors").read_bytes() == content


def test_the_same_flags_may_be_given_again_and_the_others_may_differ(run: Path) -> None:
    config = find_resume_point({"resume": str(run)}, warn=print).config
    again = {name: getattr(config, name) for name in SAVED}
    others = {
        "num_epochs": 7,
        "imports": "elsewhere",
        "patience": 3,
        "threads": 5,
        "data_path": "elsewhere",
        "num_workers": 0,
        "on_bad_image": "skip",
        "compile_mode": "max-autotune",
        "device": "auto",
        "backend": "reference",
        "output_dir": "elsewhere",
        "checkpoint_every": "3",
        "checkpoint": "x",
    }
    others |= {f.name: not f.default for f in fields(TrainConfig) if f.name in CHANGEABLE and f.type is bool}
    assert others.keys() | {"resume"} == CHANGEABLE
    point = find_resume_point(again | others | {"resume": str(run)}, warn=print)
    assert vars(point.config) == again | others | {"resume": str(run)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "--optimizer adam --scheduler step --lr_step 1",
        "--optimizer sgd --scheduler plateau",
        "--optimizer sgd --momentum 0 --scheduler cosine --checkpoint_every 1",
    ],
)
def test_what_runs_really_write_is_believed_and_goes_on_the_same(flags: str, tmp_path: Path) -> None:
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    assert main_train([*RUN.split(), "--num_epochs", "2", *flags.split(), "--output_dir", str(whole)]) == 0
    assert main_train(["--resume", str(whole / "previous.safetensors"), "--output_dir", str(rest)]) == 0
    assert (rest / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
