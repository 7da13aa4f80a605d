"""Third-party packages that are missing or broken are named, with the remedy."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convnn.cli._broken import report_broken_package
from convnn.errors import InputError
from convnn.packages import need

MISFIT = "operator torchvision::nms does not exist"


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    """Return a function that makes the import of a module fail."""
    real = importlib.import_module

    def breaks(module: str, error: Exception) -> None:
        def load(name: str) -> object:
            if name == module:
                raise error
            return real(name)

        monkeypatch.setattr(importlib, "import_module", load)

    return breaks


def test_a_package_that_is_missing_and_one_that_is_broken_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, breaks: Callable[[str, Exception], None]
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "timm", None)
        with pytest.raises(InputError, match=r"^a network needs the package timm: pip install 'convnn\[timm\]'$"):
            need("timm", "a network", extra="timm")
    breaks("timm", RuntimeError("it does not fit\nand more"))
    with pytest.raises(InputError, match=r"the package timm, which cannot be imported: RuntimeError: it does not fit$"):
        need("timm", "a network", extra="timm")
    breaks("timm", ModuleNotFoundError("No module named 'huggingface_hub'", name="huggingface_hub"))
    with pytest.raises(InputError, match=r"timm, which cannot be imported: .*No module named 'huggingface_hub'$"):
        need("timm", "a network", extra="timm")


BARE = """
import sys
sys.modules["convnn.backends.cpu._core_portable"] = None  # what an installation without a compiler looks like
sys.modules["triton"] = None
import runpy, torch
from convnn.backends import triton
from convnn.nn import ConvNN2d
layer = ConvNN2d(3, 4, K=5)
layer(torch.randn(2, 3, 6, 6)).sum().backward()
assert layer.weight.grad is not None
sys.argv = ["convnn", "info"]
runpy.run_module("convnn", run_name="__main__")
"""


@pytest.mark.slow
def test_without_compiler_triton_and_torchvision_layers_compute_and_info_says_so(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError({MISFIT!r})\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "triton not found" not in line] == []
    [line] = [line for line in map(str.strip, done.stdout.splitlines()) if line.startswith("torchvision ")]
    assert line.endswith(f"does not load: RuntimeError: {MISFIT}")
    assert "cpu: not usable: the core is not compiled" in " ".join(done.stdout.split())


def test_other_commands_name_it_in_a_line(
    breaks: Callable[[str, Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    breaks("torchvision", RuntimeError(MISFIT))
    assert report_broken_package(ImportError(MISFIT), "train") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("convnn: torchvision ")
    assert printed.err.endswith(f"does not load: RuntimeError: {MISFIT}; convnn info lists all packages\n")


def test_a_package_that_is_too_old_is_named_and_our_own_mistakes_are_not_hidden(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = ImportError("cannot import name 'v2' from 'torchvision.transforms'", name="torchvision.transforms")
    assert report_broken_package(old, "predict") == 2
    assert "torchvision" in capsys.readouterr().err
    assert report_broken_package(ImportError("ours", name="convnn.cli"), "info") is None
