"""Tests of the modules that a command imports before it answers."""

import subprocess
import sys

import pytest

from convnn.cli import COMMANDS, main

HEAVY = {"torch", "torchvision", "accelerate", "sklearn", "matplotlib", "rich", "numpy", "optuna"}


def imported_by(program: str, *argv: str, status: int = 0) -> set[str]:
    """Return the modules that a program in a new process has imported at its end, which has an exit status."""
    at_the_end = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    words = [sys.executable, "-c", at_the_end + program, *argv]
    done = subprocess.run(words, capture_output=True, text=True, env={"PYTHONWARNINGS": "ignore"})
    assert done.returncode == status, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize("argv", [["--version"], ["--help"], [], ["trian"], ["--versoin"]], ids=" ".join)
def test_help_version_and_misspelt_commands_wait_for_no_package(argv: list[str]) -> None:
    is_wrong = argv in (["trian"], ["--versoin"])
    found = imported_by("from convnn.__main__ import main\nsys.exit(main())", *argv, status=2 if is_wrong else 0)
    assert "convnn.cli" in found
    assert not HEAVY & found


@pytest.mark.slow
def test_packages_are_imported_where_they_are_used() -> None:
    ahead = "import convnn\nassert 'torch' not in sys.modules\n"
    ahead += "convnn.ops\nassert 'torch' in sys.modules\n"
    ahead += "import convnn.nn\nassert 'rich' not in sys.modules\n"
    commands = "import convnn.train, convnn.cli.train, convnn.cli.evaluate, convnn.cli.predict, convnn.cli.models\n"
    found = imported_by(ahead + commands)
    assert {"torch", "rich", "convnn.cli.predict"} <= found
    rare = {"torch._dynamo", "torch.distributed.tensor", "onnx", "onnxscript", "onnxruntime"}
    assert not found & (HEAVY - {"torch", "numpy", "rich"} | rare)


def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f" {name} {text}" in printed for name, text in COMMANDS.items())


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("trian", "unknown command 'trian'; did you mean 'train'?"),
        ("neigbours", "unknown command 'neigbours'; did you mean 'neighbours'?"),
        ("dance", "unknown command 'dance'; convnn --help lists all commands"),
    ],
)
def test_a_misspelt_command_is_answered_with_the_nearest(
    word: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "--help"]) == 2
    assert capsys.readouterr().err == f"convnn: {answer}\n"


def test_neighbours_are_neighbors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["neighbours", "--help"])
    assert capsys.readouterr().out.startswith("usage: convnn neighbors ")
