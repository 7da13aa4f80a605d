"""Tests of layers from a user's module, by --import and in files, and from installed packages."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convnn.cli import main, main_train
from convnn.errors import InputError
from convnn.nn import LAYERS, _extensions, import_layers
from convnn.study import read_study
from convnn.study.worker import arguments
from convnn.train import TrainConfig, load_checkpoint, read_checkpoint
from launch import call_in_folder, start, wait

MODULE = """
from pathlib import Path

from torch import nn

from convnn.nn import register_layer


class Blur(nn.Conv2d):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, 3, padding=1)


register_layer("Blur", Blur, "the window")
Path(__file__).with_suffix(".ran").touch()
"""
TINY = shlex.split(
    "--layer Blur --dataset digits --model resnet18 --width 0.0625 --num_epochs 1 --batch_size 16 --limit_train 16"
    " --limit_test 16 --device cpu"
)


def forget() -> None:
    """Restore the state of a new process."""
    LAYERS.pop("Blur", None)
    _extensions._files.clear()
    sys.modules.pop("my_layers", None)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder with a module, and a run that imports it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "my_layers.py").write_text(MODULE)
    argv = ["--import", str(folder / "my_layers.py"), *TINY, "--output_dir", str(folder / "run")]
    assert main_train(argv) == 0
    (folder / "my_layers.ran").unlink()
    return folder


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.slow
def test_a_module_of_the_working_folder_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "my_layers.py").write_text(MODULE)
    argv = ["train", "--import", "my_layers", "--test_only", *TINY]
    log = tmp_path / "log"
    assert wait(start(call_in_folder, str(tmp_path), argv, log=log)) == 0, log.read_text()
    assert "resnet18 of Blur" in log.read_text()


def test_a_run_remembers_its_module_with_its_place(trained: Path) -> None:
    module = str(trained / "my_layers.py")
    assert f"imports: {module}\n" in (trained / "run" / "args.txt").read_text()
    for name in ("best.safetensors", "last.safetensors"):
        assert read_checkpoint(trained / "run" / name).recipe.imports == module


CHECKPOINT_COMMANDS = (
    ["evaluate", "{run}/best.safetensors", "--limit_test", "8"],
    ["neighbors", "{run}/best.safetensors", "--out", "{out}"],
    ["statistics", "{run}/best.safetensors", "--out", "{out}"],
    ["tangent", "{run}/best.safetensors", "--out", "{out}"],
    ["predict", "{run}/best.safetensors", "cat.png"],
    ["export", "{run}/best.safetensors", "--out", "{out}/network.onnx"],
    ["train", "--resume", "{run}"],
)


@pytest.mark.parametrize("words", CHECKPOINT_COMMANDS, ids=lambda words: words[0])
def test_a_checkpoint_runs_no_code_but_says_what_to_import(
    words: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [word.format(run=trained / "run", out=tmp_path / "out") for word in words]
    message = refusal(argv, capsys)
    assert "has the layer 'Blur' of a module that is not imported, and a checkpoint does not run code" in message
    assert message.endswith(f"add --import={trained / 'my_layers.py'}\n")
    assert not (trained / "my_layers.ran").exists()
    assert not (tmp_path / "out").exists()
    assert "--import=nowhere.py" not in message
    assert "nowhere" in refusal([*argv, "--import", "nowhere"], capsys)


def test_with_the_module_they_work(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--import", str(trained / "my_layers.py")]
    assert main(["evaluate", str(trained / "run" / "best.safetensors"), "--limit_test", "8", *given]) == 0
    assert "resnet18 of Blur" in capsys.readouterr().out
    forget()
    assert main(["train", "--resume", str(trained / "run"), "--num_epochs", "1", *given]) == 0


def test_in_python_it_is_imported_first(trained: Path) -> None:
    with pytest.raises(InputError, match="add --import="):
        load_checkpoint(trained / "run" / "best.safetensors")
    import_layers(str(trained / "my_layers.py"))
    import_layers(str(trained / "my_layers.py"))  # once
    assert load_checkpoint(trained / "run" / "best.safetensors")[1].layer == "Blur"


def test_files_of_flags_import_too(trained: Path, tmp_path: Path) -> None:
    config = ["--config", str(trained / "run" / "args.txt"), "--output_dir", str(tmp_path / "again")]
    assert main_train(config) == 0
    first, second = ((folder / "metrics.csv").read_bytes() for folder in (trained / "run", tmp_path / "again"))
    assert first == second


def test_the_runs_of_a_study_import_too(trained: Path, tmp_path: Path) -> None:
    module = trained / "my_layers.py"
    (tmp_path / "s.toml").write_text(f'[flags]\nimports = "{module}"\n[[runs]]\nlayer = ["Blur", "Conv2d"]\n')
    study = read_study(tmp_path / "s.toml")
    assert [run.config.layer for run in study.runs] == ["Blur", "Conv2d"]
    assert all(f"--import={module}" in arguments(run.config) for run in study.runs)
    assert "Blur" in LAYERS


def test_help_and_tables_have_the_layer(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"--import={trained / 'my_layers.py'}"]
    with pytest.raises(SystemExit):
        main(["train", *given, "--help-all"])
    assert re.search(r"--layer \{[^}]*Blur[^}]*\}", "".join(capsys.readouterr().out.split("\n")))
    assert main(["layers", *given]) == 0
    assert "Blur" in capsys.readouterr().out


def test_without_the_module_the_layer_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--layer='Blur' is not one of" in refusal(["train", *TINY], capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be imported: No such file or directory"),
        ("x = 1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero, in line 1 of"),
        ("\nimport nowhere_at_all\n", "cannot be imported: No module named 'nowhere_at_all', in line 2 of"),
        ("x = = 1\n", "cannot be imported: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3, in line 1 of"),
        (
            "from convnn.nn import register_layer\nregister_layer('ConvNN', int, 'x')\n",
            "cannot be imported: layer 'ConvNN' is registered already; choose another name",
        ),
    ],
)
def test_a_module_that_fails_is_one_sentence(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    assert f"convnn: --import={path} {message}" in refusal(["train", "--import", str(path)], capsys)


@pytest.mark.parametrize(
    "argv", [["--import="], ["--import", ""], ["--import", "a,,b"], ["--import", "a,"], ["--import"]]
)
def test_a_module_without_a_name_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--import" in refusal(["train", *argv], capsys)


def test_several_modules_are_kept_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    config = TrainConfig(imports="a.b, mine.py,~/more.py")
    assert config.imports == f"a.b,{tmp_path / 'mine.py'},/home/ann/more.py"
    assert TrainConfig(imports=config.imports) == config


@pytest.mark.slow
def test_installed_packages_offer_layers_and_a_broken_one_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "good_package.py").write_text(MODULE)
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('two\\nlines')\n")
    about = tmp_path / "offer-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: offer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[convnn.layers]\nbroken = broken_package\ngood = good_package\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    program = (
        "import sys, convnn.nn, convnn.models; assert 'good_package' not in sys.modules; "
        "convnn.models.create_model('resnet18', 'Blur', width=0.0625); print(convnn.nn.list_layers()[-1])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "Blur\n"), done.stderr
    assert done.stderr.startswith(
        "the layers of the installed package broken_package are left out: RuntimeError: two lines, in line 1 of"
    )
    assert done.stderr.count("\n") == 1
