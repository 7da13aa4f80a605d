"""The meaning of a study file, and the errors of a wrong one."""

import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from convnn.cli import main
from convnn.errors import InputError
from convnn.nn import LAYERS, _extensions
from convnn.study import Plot, Study, read_study
from convnn.study.definition import LONGEST_NAME, run_name
from convnn.train import TrainConfig

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


@cache
def shipped(path: Path) -> Study:
    return read_study(path)


GOOD = """
title = "A question"

[flags]
dataset = "digits"
lr = 1

[[runs]]
layer = ["ConvNN", "Branching"]
K = [3, 9]
seed = [0, 1]

[[runs]]
layer = ["Conv2d"]
seed = [0]

[[plots]]
x = "K"
y = "last"
lines = ["layer"]
"""


def study(where: Path, text: str = GOOD, **arguments) -> Study:
    path = where / "question.toml"
    path.write_text(text)
    return read_study(path, **arguments)


def test_runs_are_the_products_of_every_block_in_order(tmp_path: Path) -> None:
    found = study(tmp_path)
    products = [
        {"layer": layer, "K": K, "seed": seed} for layer, K, seed in product(["ConvNN", "Branching"], [3, 9], [0, 1])
    ]
    assert [run.settings for run in found.runs] == [*products, {"layer": "Conv2d", "seed": 0}]
    assert found.settings == ["layer", "K"]
    assert found.title == "A question"
    assert found.plots == (Plot("K", "last", ("layer",), ()),)


def test_a_run_has_the_flags_of_the_study_and_its_own(tmp_path: Path) -> None:
    run = study(tmp_path, folder=tmp_path / "out").runs[1]
    assert run.name == "layer=ConvNN,K=3,seed=1"
    assert run.folder == tmp_path / "out" / run.name
    config = run.config
    assert (config.dataset, config.lr, config.layer, config.K, config.seed) == ("digits", 1.0, "ConvNN", 3, 1)
    assert config.resume == "auto"


def test_the_folder_is_that_of_the_file_or_called_after_it(tmp_path: Path) -> None:
    assert study(tmp_path).folder == Path("runs/question")
    assert study(tmp_path, 'output_dir = "there"\n' + GOOD).folder == Path("there")
    assert study(tmp_path, 'output_dir = "there"\n' + GOOD, folder="here").folder == Path("here")


def test_the_folder_may_be_in_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = study(tmp_path, 'output_dir = "~/there"\n' + GOOD)
    assert found.folder == tmp_path / "there"
    assert found.runs[0].folder.parent == tmp_path / "there"


def test_flags_of_all_runs_can_be_changed(tmp_path: Path) -> None:
    assert {run.config.num_epochs for run in study(tmp_path, changes={"num_epochs": 2}).runs} == {2}


def test_names_of_folders_have_no_separators(tmp_path: Path) -> None:
    text = '[flags]\ndataset = "digits"\n[[runs]]\nmodel = ["timm:a/b"]\nwhere = ["x/*"]\n'
    with pytest.raises(InputError):
        study(tmp_path, text)  # there is no such network; but its name would be a path
    text = '[[runs]]\ndata_path = ["../a b", "/c"]\n'
    assert [run.name for run in study(tmp_path, text).runs] == ["data_path=..%2Fa%20b", "data_path=%2Fc"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[flags]", "repeats = ['sede']\n[flags]", "has 'sede' in repeats, which is not a flag; did you mean 'seed'?"),
        ("[flags]", "repeats = 'seed'\n[flags]", "has repeats='seed', which must be a list of flags, such as"),
        ("title =", "titel =", "has the unknown key 'titel'; did you mean 'title'"),
        ("lr = 1", "lrr = 1", "has the unknown key 'lrr'; did you mean 'lr'"),
        ("lr = 1", 'lr = "fast"', "has lr='fast', which must be of type float"),
        ("lr = 1", 'output_dir = "x"', "has the flag 'output_dir', which a sweep sets itself"),
        ("K = [3, 9]", "K = 3", "has K=3 under [[runs]]; it must be a list of values"),
        ("K = [3, 9]", "K = []", "has K=[] under [[runs]]; it must be a list of values"),
        ("K = [3, 9]", "K = [3, 0]", "run layer=ConvNN,K=0,seed=0: --K=0 must be an integer of at least 1"),
        ("K = [3, 9]", "K = [3, 3]", "has the run layer=ConvNN,K=3,seed=0 twice"),
        ("K = [3, 9]", "kk = [3, 9]", "has the unknown key 'kk'"),
        ("[[plots]]\nx", "[[plots]]\nz", "has the unknown key 'z'"),
        ('x = "K"\n', "", "has a plot without x"),
        ('x = "K"', 'x = "seed"', "x of a plot of study"),
        ('y = "last"', 'y = "lst"', "is not one of best, last, average, test; did you mean 'last'"),
        ('lines = ["layer"]', 'lines = ["lr"]', "a line or panel of a plot"),
        ("[[runs]]", "[[rums]]", "has the unknown key 'rums'"),
        ("title =", "title", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as error:
        study(tmp_path, GOOD.replace(old, new))
    assert message in str(error.value)
    assert "question.toml" in str(error.value)


WHOLE = {
    "title": '"A question"',
    "output_dir": '"there"',
    "repeats": '["seed"]',
    "flags": '{dataset = "digits"}',
    "runs": "[{reach = [1, 2], seed = [0]}]",
    "plots": '[{x = "parameters"}]',
}
VALUES = r"""
3 -1 1.5 nan true "x" "" "\u0000" 2020-01-01 12:00:00 2020-01-01T12:00:00Z 999999999999999999999999999999
[] [1] [1.5] [true] ["x"] [[1]] [[]] [["seed"]] ["seed",3] [2020-01-01] [{}] [{a=1}] [{a=[1]}] [1,{a=1}]
{} {a=1} {a=[1]} {K={a=1}}
""".split()  # noqa: SIM905
SOME = ("K", "lr", "model", "augment", "resize", "data_path")
PLACES = {
    **{name: (name, "{}") for name in WHOLE},
    **{f"flags.{name}": ("flags", f"{{{name} = {{}}}}") for name in SOME},
    **{f"runs.{name}": ("runs", f"[{{{name} = {{}}}}]") for name in SOME},
    **{f"plots.{name}": ("plots", f"[{{x = 'reach', {name} = {{}}}}]") for name in ("y", "lines", "panels")},
    "plots.x": ("plots", "[{x = {}}]"),
}
"""Where a value stands: the key of the file, and what is written behind it."""

RIGHT = {
    "title": {'"x"', '""', '"\\u0000"'},
    "output_dir": {'"x"'},
    "repeats": {"[]"},
    "flags": {"{}"},
    "plots": {"[]"},
    "flags.K": {"3"},
    "flags.lr": {"3", "1.5", "999999999999999999999999999999"},
    "flags.augment": {"true"},
    "flags.resize": {"3"},
    "flags.data_path": {'"x"'},
    "runs.K": {"[1]"},
    "runs.lr": {"[1]", "[1.5]"},
    "runs.augment": {"[true]"},
    "runs.resize": {"[1]"},
    "runs.data_path": {'["x"]'},
    "plots.lines": {"[]"},
    "plots.panels": {"[]"},
}
"""Of those values, the ones that may stand there."""


@pytest.mark.parametrize("place", PLACES)
def test_every_wrong_type_at_every_place_is_one_sentence(place: str, tmp_path: Path) -> None:
    key, pattern = PLACES[place]
    for value in VALUES:
        text = "".join(f"{name} = {part}\n" for name, part in (WHOLE | {key: pattern.replace("{}", value)}).items())
        if value in RIGHT.get(place, ()):
            study(tmp_path, text)
            continue
        with pytest.raises(InputError) as error:
            study(tmp_path, text)
        message = str(error.value)
        leaf = place.rpartition(".")[2]
        assert re.search(rf"\b{leaf}\b|\bK=|unknown key|plot|\[\[runs\]\]", message)
        assert "question.toml" in message
        assert "\n" not in message
        assert len(message) < 500 + len(str(tmp_path))


MANY = "".join(
    f"{name} = {values}\n"
    for values, names in {
        "[0.5]": ("lambda_param", "branch_ratio", "choosing", "dropout", "drop_path", "noise"),
        "[1, 2]": ("K", "reach", "graph_dilation", "step", "reduction"),
        "[1]": ("mlp_layers", "positional_size", "latent_channels", "sparse_context_window"),
    }.items()
    for name in names
)


def test_many_settings_have_names_that_a_folder_can_have(tmp_path: Path) -> None:
    made = study(tmp_path, f"[[runs]]\n{MANY}", folder=tmp_path / "out")
    names = {*(run.name for run in made.runs), *made.same}
    assert len(names) == 32
    for name in names:
        assert len(name) <= LONGEST_NAME
        assert name.startswith("lambda_param=0.5,branch_ratio=0.5,")
        (tmp_path / "out" / name).mkdir(parents=True)
    again = study(tmp_path, f"[[runs]]\n{MANY}", folder=tmp_path / "out").runs
    assert all(run.folder.is_dir() for run in again)


def test_a_name_is_cut_only_where_it_is_too_long() -> None:
    short, long = {"data_path": "x" * (LONGEST_NAME - 10)}, {"data_path": "x" * (LONGEST_NAME - 9)}
    assert run_name(short) == "data_path=" + short["data_path"]
    assert len(run_name(long)) == LONGEST_NAME
    assert run_name(long) != run_name({"data_path": long["data_path"] + "x"})


@pytest.mark.parametrize(("axes", "count"), [(5, "100,000"), (9, "1,000,000,000"), (60, "1" + 20 * ",000")])
def test_runs_without_end_are_counted_and_refused(axes: int, count: str, tmp_path: Path) -> None:
    ten = list(range(1, 11))
    block = "".join(f"{f.name} = {ten}\n" for f in fields(TrainConfig)[:axes])
    with pytest.raises(
        InputError, match=rf"has {count} combinations under \[\[runs\]\], and a study has at most 10,000"
    ):
        study(tmp_path, f"[[runs]]\n{block}")


def test_a_study_without_runs_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no \[\[runs\]\]; name there"):
        study(tmp_path, "[flags]\nK = 3\n")
    with pytest.raises(InputError, match=r"has a \[\[runs\]\] without flags; name there"):
        study(tmp_path, "[[runs]]\nK = [3]\n[[runs]]\n")
    with pytest.raises(InputError, match=r"study '.*nowhere.toml' cannot be read"):
        read_study(tmp_path / "nowhere.toml")


def test_a_flag_that_is_varied_cannot_be_changed_for_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--set K has no effect on runs of study"):
        study(tmp_path, changes={"K": 5})


@pytest.fixture
def layers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the layers that a study imports from a file of the repository."""
    monkeypatch.chdir(STUDIES[0].parents[1])
    monkeypatch.setattr(_extensions, "_files", set())
    before = dict(LAYERS)
    yield
    LAYERS.clear()
    LAYERS.update(before)


@pytest.mark.usefixtures("layers_as_before")
@pytest.mark.xdist_group("shipped studies")  # one worker reads each once
@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_shipped_studies_can_be_read(path: Path) -> None:
    found = shipped(path)
    assert found.runs
    assert found.plots
    assert found.title != path.stem


@pytest.mark.slow
@pytest.mark.xdist_group("shipped studies")
def test_published_settings() -> None:
    """Return the flags that all published runs of VGG11 share."""
    found = [shipped(path) for path in STUDIES if 'dataset = ["cifar10", "cifar100"]' in path.read_text()]
    configs = [run.config for one in found for run in one.runs if run.config.model == "vgg11"]
    assert len(found) == 8
    for config in configs:
        assert (config.optimizer, config.weight_decay, config.scheduler) == ("adamw", 0.01, "none")
        assert (config.clip_grad_norm, config.batch_size, config.padding) == (1.0, 256, 1)
        assert not config.augment
        assert config.num_epochs in (100, 150)


def test_runs_that_differ_in_what_they_do_not_read_are_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "K.toml"
    path.write_text('[[runs]]\nlayer = ["ConvNN", "Conv2d"]\nK = [3, 5, 9]\n')
    study = read_study(path)
    assert [run.name for run in study.runs] == [*(f"layer=ConvNN,K={K}" for K in (3, 5, 9)), "layer=Conv2d,K=3"]
    assert study.same == dict.fromkeys(("layer=Conv2d,K=5", "layer=Conv2d,K=9"), "layer=Conv2d,K=3")
    assert main(["sweep", str(path), "--list", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.endswith("are made once: layer=Conv2d,K=5 is layer=Conv2d,K=3, and 1 more")
