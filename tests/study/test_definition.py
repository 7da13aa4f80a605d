"""What a study file means, and what is said of one that is wrong."""

from itertools import product
from pathlib import Path

import pytest

from convnn.errors import InputError
from convnn.study import Plot, Study, read_study

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))

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
        ('y = "last"', 'y = "lst"', "is not one of best, last, average; did you mean 'last'"),
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


def test_a_study_without_runs_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no \[\[runs\]\]; name there"):
        study(tmp_path, "[flags]\nK = 3\n")
    with pytest.raises(InputError, match=r"study '.*nowhere.toml' cannot be read"):
        read_study(tmp_path / "nowhere.toml")


def test_a_flag_that_is_varied_cannot_be_changed_for_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--set K has no effect on runs of study"):
        study(tmp_path, changes={"K": 5})


@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_shipped_studies_can_be_read(path: Path) -> None:
    found = read_study(path)
    assert found.runs
    assert found.plots
    assert found.title != path.stem


def test_published_settings() -> None:
    """Those that all published runs of VGG11 share."""
    found = [read_study(path) for path in STUDIES if 'dataset = ["cifar10", "cifar100"]' in path.read_text()]
    configs = [run.config for one in found for run in one.runs if run.config.model == "vgg11"]
    assert len(found) == 8
    for config in configs:
        assert (config.optimizer, config.weight_decay, config.scheduler) == ("adamw", 0.01, "none")
        assert (config.clip_grad_norm, config.batch_size, config.padding) == (1.0, 256, 1)
        assert not config.augment
        assert config.num_epochs in (100, 150)
