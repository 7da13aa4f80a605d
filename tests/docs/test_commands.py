"""Every command of the pages runs: Python as it stands, commands on a few random images and narrow networks."""

import importlib
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from convnn.cli import COMMANDS, command_parser, main, main_train
from convnn.cli._flags import config_from
from convnn.cli._parser import Parser
from convnn.cli.train import add_flags
from convnn.data import builders
from convnn.nn import LAYERS
from fences import PAGES, ROOT, SHELL, Block, blocks_of, commands_of, name_of
from few_images import few_cifar, write_pictures
from pairwise import only
from published_examples import PUBLISHED_EXAMPLES

TINY = (
    "--device cpu --width 0.0625 --num_layers 2 --num_epochs 1 --batch_size 4 --limit_train 4 --limit_test 4"
    " --num_workers 0"
)
"""What makes any run short; later flags replace earlier ones."""

NOT_RUN = {
    "pip install .": "the environment of the tests is such an installation",
    "pip install convnn[sweep]": "and has the extras",
    "git clone https://github.com/OWNER/convnn.git": "the address is the reader's",
    "cd convnn": "of what was cloned",
    "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu": "torch is installed",
    "convnn statistics runs/animals/best.safetensors --shape_bias cue-conflict --out runs/animals/bias": (
        "the pictures are the reader's"
    ),
    "convnn surface reconstruct points.ply --out mesh.ply --picture surface.png": "the points are the reader's",
    "convnn bench run softmax.py --candidate mine.py --out bench": "the kernel is wrong, so that it exits with 1",
}

NO_FLAGS_OF_OURS = {
    "--resuze": "a misspelling, in the figures of misspellings",
    "--dry": "of python -m benchmarks.gpu",
}


TAKING_LONG = ("docs/export.md", "docs/learners.md", "docs/dense.md", "docs/tangent.md", "docs/any-network.md")
"""Pages whose Python fits or trains for seconds; `make test-long` runs it."""

EXPORTING = ("docs/export.md",)
"""Where networks are exported, which takes twenty seconds; the same commands on other pages are parsed."""

ALWAYS_RUN = ("README.md",)
"""Pages whose commands every run of the tests runs; those of the others are parsed, and run by `make test-long`."""


def pages_with(*languages: str) -> list[Path]:
    return [page for page in PAGES if blocks_of(page, *languages)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a page's reader sits: pictures at hand, CIFAR in its place, and no C++ compiler to wait for."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path)
    monkeypatch.setattr(builders, "read_cifar", few_cifar)
    return tmp_path


@pytest.fixture
def layers_as_before():
    """Takes back what a page registers."""
    before = dict(LAYERS)
    yield
    LAYERS.clear()
    LAYERS.update(before)


@pytest.mark.parametrize("page", only(lambda page: name_of(page) not in TAKING_LONG, pages_with("python")), ids=name_of)
@pytest.mark.usefixtures("layers_as_before")
def test_python_of_a_page_runs(page: Path, folder: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks_of(page, "python"):
        exec(compile("\n" * block.line + block.text, page, "exec"), namespace)  # lines of the page in a traceback


@pytest.mark.slow
@pytest.mark.parametrize("page", only(lambda page: name_of(page) in ALWAYS_RUN, pages_with(*SHELL)), ids=name_of)
@pytest.mark.usefixtures("layers_as_before")
def test_commands_of_a_page_run(page: Path, folder: Path) -> None:
    for block in blocks_of(page, "toml"):
        write_file(block, folder)
    for block in blocks_of(page, "python"):
        if re.match(r"# \S+\.py\n", block.text):
            write_file(block, folder)
    for block in blocks_of(page, *SHELL):
        for words in commands_of(block):
            where = f"{name_of(page)}:{block.line}: {' '.join(words)}"
            if " ".join(words) in NOT_RUN:
                continue
            assert words[0] in RUNNERS, f"{where}: nothing here runs {words[0]}"
            if words[:2] == ["convnn", "export"] and name_of(page) not in EXPORTING:
                subparser_of("export").parse_strictly(words[2:])
                continue
            assert RUNNERS[words[0]](words[1:]) == 0, where


@pytest.mark.parametrize("page", pages_with(*SHELL), ids=name_of)
def test_commands_of_a_page_have_the_flags_that_they_name(page: Path) -> None:
    for block in blocks_of(page, *SHELL):
        for command, *words in commands_of(block):
            assert command in RUNNERS or " ".join([command, *words]) in NOT_RUN
            if command == "convnn" and words[0] in COMMANDS and "--help" not in words:
                subparser_of(words[0]).parse_strictly(words[1:])


def write_file(block: Block, folder: Path) -> None:
    """A file whose name stands in its first line."""
    name = re.match(r"# (\S+)\n", block.text)
    assert name, f"line {block.line}: no name of the file"
    (folder / name[1]).write_text(block.text)


def run_convnn(words: list[str]) -> int:
    if words[0] == "sweep":
        return run_sweep(words)
    if words[0] == "bench":
        return main(words)
    return main([*words, *shrinking(words[0], words)])


def run_sweep(words: list[str]) -> int:
    """A study of the page itself is run, those of the repository are listed: the tests of studies sweep."""
    study, *flags = words[1:]
    if Path(study).exists():
        tiny = ["num_epochs=1", "width=0.0625", "limit_train=8", "limit_test=8", "num_workers=0"]
        return main(["sweep", study, "--set", *tiny, *flags])
    return main(["sweep", str(ROOT / study), *flags, "--list"])


def shrinking(command: str, words: list[str]) -> list[str]:
    """Those flags of a command that make it short, to stand behind all others."""
    known = subparser_of(command).flags()
    tiny = TINY.split() + (["--resize", "32"] if "--resize" in words else [])
    tiny += ["--width", "1"] if any(":" in word for word in words) else []  # networks of others have one width
    pairs = zip(tiny[::2], tiny[1::2], strict=True)
    return [word for flag, value in pairs if flag in known for word in (flag, value)]


def subparser_of(command: str) -> Parser:
    return command_parser(command)


def run_python(words: list[str]) -> int:
    """`python main.py`; those of the published readme are run by tests/cli/test_published_examples.py."""
    if words[:2] == ["-m", "claims"]:
        return check_claims(words[2:])
    assert words[0] == "main.py"
    if words[1:] in [example.split() for example in PUBLISHED_EXAMPLES]:
        return check_flags(words[1:])
    return main_train([*words[1:], *shrinking("train", words)])


def check_claims(words: list[str]) -> int:
    """They are there: tests/claims runs each."""
    named = [word for word in words if word != "--quick"]
    return 0 if named and all((ROOT / "claims" / f"{name}.py").is_file() for name in named) else 1


def check_flags(words: list[str]) -> int:
    parser = Parser()
    add_flags(parser)
    config_from(parser.parse_strictly(words))
    return 0


def check_torchrun(words: list[str]) -> int:
    """Several processes, or machines: tests/train/test_processes.py starts them; here the words are parsed."""
    args = get_args_parser().parse_args(words)
    assert args.training_script == "main.py"
    return check_flags(args.training_script_args)


def check_accelerate(words: list[str]) -> int:
    assert words[0] == "launch"
    args = launch_command_parser().parse_args(words[1:])
    assert args.training_script == "main.py"
    return check_flags(args.training_script_args)


def check_make(words: list[str]) -> int:
    """What it would do: the commands themselves take minutes, or are what runs this test."""
    return subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True).returncode


RUNNERS: dict[str, Callable[[list[str]], int]] = {
    "convnn": run_convnn,
    "python": run_python,
    "torchrun": check_torchrun,
    "accelerate": check_accelerate,
    "make": check_make,
}


def test_commands_are_found_where_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# a\n```sh\none 'a b' \\\n  c # d\ntwo; three && four\n```\n\n   ```console\n   $ five\n   out\n   ```\n"
    )
    found = [words for block in blocks_of(page, *SHELL) for words in commands_of(block)]
    assert found == [["one", "a b", "c"], ["two"], ["three"], ["four"], ["five"]]
    assert [block.line for block in blocks_of(page, *SHELL)] == [2, 8]


def test_exceptions_are_still_written_somewhere() -> None:
    found = {" ".join(words) for page in PAGES for block in blocks_of(page, *SHELL) for words in commands_of(block)}
    assert set(NOT_RUN) <= found
    text = "".join(page.read_text() for page in PAGES)
    assert all(flag in text for flag in NO_FLAGS_OF_OURS)


def test_the_published_commands_stand_in_the_page_on_the_paper() -> None:
    page = ROOT / "docs" / "reproducing.md"
    commands = [" ".join(words[2:]) for block in blocks_of(page, *SHELL) for words in commands_of(block)]
    assert set(PUBLISHED_EXAMPLES) <= set(commands)


@cache
def flags_of(command: str) -> set[str]:
    """The flags of a command, and of its tasks that parse the rest of the words."""
    tasks = importlib.import_module(f"convnn.cli.{command}").TASKS if command in ("knowledge", "segment") else {}
    parsers = [subparser_of(command), *(Parser() for _ in tasks)]
    for parser, (_, add) in zip(parsers[1:], tasks.values(), strict=True):
        add(parser)
    return {flag for parser in parsers for flag in parser.flags()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_named_in_a_page_exist(page: Path) -> None:
    ours = {flag for name in COMMANDS for flag in flags_of(name)} | {"--help", "--version"}
    inline = re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    named = {flag for code in inline for flag in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", code)}
    assert named - set(NO_FLAGS_OF_OURS) <= ours
