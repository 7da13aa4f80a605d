"""Claims: each is short and runs in its quick form, and the guide shows the saved result of a full run."""

import inspect
import json
import re
import sys
from pathlib import Path

import pytest

from convnn.systems import SYSTEMS, list_systems
from fences import ROOT
from pairwise import one_in

sys.path.insert(0, str(ROOT))  # claims/ is beside tests/, not in the package
from claims import __main__ as command
from claims import _experiment as experiment

sys.path.remove(str(ROOT))

SAVED = sorted((ROOT / "docs" / "claims").glob("*.json"))
EXPECTED = (
    "ConvNN",
    "Branching",
    "ConvNN attention",
    "KVT: k-NN attention",
    "Vision GNN",
    "GreedyViG: DAGC",
    "EdgeConv",
)
EXPECTED += ("MobileViG: SVGA", "MobileViGv2: MGC", "TCSR: neighbourhood attention", "Adaptive neighbourhoods")
EXPECTED += ("Non-local block", "Block-sparse attention")
EXPECTED += ("RepLKNet: large kernel", "InceptionNeXt: square and bands", "RecNeXt: recursive convolution")
EXPECTED += ("VAN: large kernel attention", "LKCA of tokens", "ShiftwiseConv: shifted small kernels")
EXPECTED += ("UniRepLKNet journal: effective receptive field", "SKFlow: super kernels", "LSKNet: selected kernels")
EXPECTED += ("MK-UNet: kernels of several sizes", "UniRepLKNet: dilated branches", "BEVANet: selected strips")


def check_form(result: dict) -> None:
    """Check the form of a result, whatever its verdict."""
    list_systems()
    assert result["system"] in SYSTEMS
    head, *rows = result["figures"]
    assert rows
    assert all(len(row) == len(head) for row in rows)
    assert all(isinstance(cell, str) for row in (head, *rows) for cell in row)
    assert result["checks"]
    assert all(isinstance(held, bool) for held in result["checks"].values())
    held = list(result["checks"].values())
    assert result["verdict"] == ("shown" if all(held) else "in part" if any(held) else "not shown")
    assert result["claim"].endswith(".")
    assert result["experiment"].endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("name", one_in(16, experiment.names()))
def test_the_quick_form_runs(name: str) -> None:
    result = experiment.run(name, quick=True)
    check_form(json.loads(json.dumps(result)))
    assert result["seeds"] == list(experiment.read(name).SEEDS[:1])


@pytest.mark.parametrize("name", experiment.names())
def test_a_claim_is_short_and_has_the_parts_that_are_run(name: str) -> None:
    claim = experiment.read(name)
    assert len(Path(claim.__file__).read_text().splitlines()) <= 80
    assert list(inspect.signature(claim.measure).parameters) == ["seeds", "quick"]
    assert len(set(claim.SEEDS)) == len(claim.SEEDS)


def test_every_claim_is_saved_and_has_its_own_system() -> None:
    saved = [json.loads(path.read_text()) for path in SAVED]
    assert [result["name"] for result in saved] == [path.stem for path in SAVED] == experiment.names()
    assert {result["system"] for result in saved} >= set(EXPECTED)
    assert len({result["system"] for result in saved}) == len(saved)


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_what_is_kept_is_of_a_full_run_of_committed_code(path: Path) -> None:
    result, claim = json.loads(path.read_text()), experiment.read(path.stem)
    check_form(result)
    assert (result["system"], result["claim"], result["experiment"]) == (claim.SYSTEM, claim.CLAIM, claim.EXPERIMENT)
    assert result["seeds"] == list(claim.SEEDS)
    assert re.fullmatch(r"[0-9a-f]{12}", result["commit"]), "measured from a changed tree"
    assert re.fullmatch(r"\d+\.\d+\.\d+", result["torch"])


@pytest.fixture(scope="module")
def quick_result() -> dict:
    return experiment.run("convnn", quick=True)


def test_a_full_run_is_printed_and_kept(
    quick_result: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run", lambda name, quick: quick_result)
    assert command.main(["convnn", "--out", str(tmp_path / "claims")]) == 0
    result = json.loads((tmp_path / "claims" / "convnn.json").read_text())
    printed = capsys.readouterr().out
    assert result["claim"] in printed
    assert printed.endswith(f"-> {result['verdict']}\n\n")


def test_a_quick_run_keeps_nothing(quick_result: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run", lambda name, quick: quick_result if quick else None)
    assert command.main(["convnn", "--quick", "--out", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_one_sentence_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["convnn", "convn", "--quick"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"claims: NAME='convn' is not one of .*; did you mean 'convnn'\?\n", printed.err)


@pytest.mark.parametrize(
    ("checks", "verdict"), [([True, True], "shown"), ([True, False], "in part"), ([False, False], "not shown")]
)
def test_verdicts(checks: list[bool], verdict: str) -> None:
    assert experiment.Outcome([["a"], ["b"]], dict(zip("xy", checks, strict=True))).verdict == verdict


def test_a_difference_counts_above_two_standard_errors() -> None:
    assert experiment.is_above([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])  # 2 each time
    assert not experiment.is_above([3.0, 4.0, 5.0], [1.0, 6.0, 3.0])  # 2, -2, 2
    assert not experiment.is_above([1.0], [1.0])
    assert experiment.spread([1.0, 3.0]) == "2.0 ± 1.4"
