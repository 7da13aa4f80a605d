"""The comparison of several runs: reading, best values, and the page."""

import json
import math
import re
import shutil
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import matplotlib.image
import pytest

from convnn.cli import main
from convnn.errors import InputError
from convnn.runs import Run, is_study, read_runs, read_study_runs
from convnn.viz import draw_comparison
from convnn.viz._sorted import columns_markdown
from convnn.viz.compare.page import comparison_page
from convnn.viz.compare.plot import comparison_figure, stroke_of
from convnn.viz.compare.table import comparison, different_flags
from run_folders import HEAD, run_folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    folders = [
        run_folder(tmp_path / "first"),
        run_folder(tmp_path / "second", (0.1, 0.7), K=16, layer="ConvNN", seconds=4.25),
        run_folder(tmp_path / "third", ("", ""), layer="ConvNN"),
    ]
    return read_runs(folders)


def cells(runs: Sequence[Run], heading: str) -> tuple[str, ...]:
    return next(column.cells for column in comparison(runs) if column.heading == heading)


def test_a_run_is_what_its_files_say(runs: list[Run]) -> None:
    first = runs[0]
    assert (first.name, first.parameters, first.gflops, first.seconds) == ("first", 1234567, 0.3125, 9.5)
    assert first.curves["test_top1"] == [0.2, 0.5, 0.4]
    assert first.curves["test_loss"] == [2.1, 2.2, 2.3]
    assert first.best == 1
    assert runs[2].best is None
    assert first.flags["K"] == "9"
    assert "total_params" not in first.flags


def test_the_first_of_several_best_epochs_counts(tmp_path: Path) -> None:
    one, _ = read_runs([run_folder(tmp_path / "a", (0.5, "", 0.5)), run_folder(tmp_path / "b")])
    assert one.best == 0


def test_only_flags_that_differ_are_columns(runs: list[Run]) -> None:
    assert different_flags(runs) == ["K", "layer"]
    assert different_flags(runs[1:]) == ["K"]
    assert cells(runs, "K") == ("9", "16", "9")
    assert cells(runs, "layer") == ("–", "ConvNN", "ConvNN")
    assert "model" not in [column.heading for column in comparison(runs)]


def test_a_top_5_that_no_run_knows_has_no_column(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name) for name in ("one", "two")]
    for folder in folders:
        text = (folder / "metrics.csv").read_text()
        (folder / "metrics.csv").write_text(re.sub(r"0\.9\d,", ",", text))
    assert "its top-5" not in [column.heading for column in comparison(read_runs(folders))]


def test_numbers_of_the_table(runs: list[Run]) -> None:
    expected = {
        "run": ("first", "second", "third"),
        "parameters": ("1,234,567",) * 3,
        "GFLOPs": ("0.312",) * 3,
        "best top-1": ("50.00%", "70.00%", "–"),
        "its epoch": ("2", "2", "–"),
        "its top-5": ("92.00%", "92.00%", "–"),
        "last top-1": ("40.00%", "70.00%", "–"),
        "epochs": ("3", "2 of 3", "2 of 3"),
        "s/epoch": ("9.5", "4.25", "9.5"),
    }
    assert {heading: cells(runs, heading) for heading in expected} == expected


def test_the_best_number_is_bold_unless_all_are_equal(runs: list[Run]) -> None:
    bold = {c.heading: c.best for c in comparison(runs) if any(c.best)}
    assert bold == {
        "best top-1": (False, True, False),
        "last top-1": (False, True, False),
        "s/epoch": (False, True, False),
    }
    text = columns_markdown(comparison(runs))
    assert re.findall(r"\*\*(.*?)\*\*", text) == ["70.00%", "70.00%", "4.25"]
    head, rule, *rows = text.splitlines()
    assert head.count("|") == rule.count("|") == rows[0].count("|")
    assert len(rows) == 3


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two seeds of each layer, of which one is clearly the worst."""
    accuracies = {"Conv2d": (0.1, 0.2), "ConvNN": (0.6, 0.7), "Branching": (0.62, 0.70)}
    for layer, values in accuracies.items():
        for seed, best in enumerate(values):
            folder = tmp_path / "study" / f"{layer},{seed}"
            run_folder(folder, (0.05, best), layer=layer, seed=seed, seconds=2.0 + seed, threads=seed)
    return tmp_path / "study"


def test_the_seeds_of_a_study_are_averaged(study: Path) -> None:
    assert is_study(study)
    assert not is_study(study / "ConvNN,0")
    runs = read_study_runs(study)
    assert [run.name for run in runs] == ["Branching", "ConvNN", "Conv2d"], "the best first"
    assert different_flags(runs) == ["layer"]
    assert cells(runs, "runs") == ("2", "2", "2")
    assert cells(runs, "best top-1") == ("66.00 ± 5.66%", "65.00 ± 7.07%", "15.00 ± 7.07%")
    assert cells(runs, "s/epoch") == ("2.5", "2.5", "2.5")
    assert runs[1].curves["test_top1"] == [0.05, pytest.approx(0.65)]


def test_a_best_within_the_spread_is_not_marked(study: Path) -> None:
    runs = read_study_runs(study)
    marked = {column.heading: column.best for column in comparison(runs)}
    assert marked["best top-1"] == (False, False, False)
    assert {column.heading: column.best for column in comparison(runs[1:])}["best top-1"] == (True, False)


def test_the_difference_from_a_run_is_paired_by_seed(study: Path) -> None:
    runs = read_study_runs(study)
    (column,) = (one for one in comparison(runs, "ConvNN") if one.heading == "less ConvNN")
    # By hand: the pairs of Branching differ by 2 and 0 points, those of Conv2d by -50 and -50; t is 12.706 with two.
    assert column.cells == ("+1.00 [-11.71, 13.71]", "–", "-50.00 [-50.00, -50.00]")
    assert column.keys[0] == pytest.approx(0.01)


def test_a_difference_of_single_runs_needs_the_same_seed_and_has_no_interval(tmp_path: Path) -> None:
    seeds = {"a": 0, "b": 0, "c": 1}
    runs = read_runs([run_folder(tmp_path / name, (0.1 + seed,), seed=seed) for name, seed in seeds.items()])
    assert next(one.cells for one in comparison(runs, "a") if one.heading == "less a") == ("–", "+0.00", "–")


def test_the_command_says_the_difference_from_a_run(study: Path, tmp_path: Path, capsys) -> None:
    command = ["compare", str(study), "--out", str(tmp_path / "out"), "--json", "--against"]
    assert main([*command, "Conv"]) == 2
    assert "--against='Conv' is not one of Branching, ConvNN, Conv2d" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "Conv2d"]) == 0
    assert [row["less Conv2d"] for row in json.loads(capsys.readouterr().out)] == [
        pytest.approx(0.51), pytest.approx(0.5), None
    ]  # fmt: skip
    assert "less Conv2d" in (tmp_path / "out" / "compare.html").read_text()


def test_a_study_of_one_setting_is_refused(tmp_path: Path) -> None:
    run_folder(tmp_path / "study" / "one", seed=0)
    run_folder(tmp_path / "study" / "two", seed=1)
    with pytest.raises(InputError, match=r"have the same settings; give two runs or more"):
        read_study_runs(tmp_path / "study")


def test_the_command_compares_a_study(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(study), "--out", str(tmp_path / "out"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["runs"], round(row["best top-1"], 3)) for row in rows] == [
        ("Branching", 2, 0.66),
        ("ConvNN", 2, 0.65),
        ("Conv2d", 2, 0.15),
    ]


def test_names_beside_the_curves_stand_as_in_the_table(study: Path) -> None:
    runs = read_study_runs(study)[::-1]
    legend = comparison_figure(runs).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["Conv2d", "ConvNN", "Branching"]


def test_markdown_leaves_names_as_they_are(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name) for name in ("a|b_c", "*<d>`")]
    text = columns_markdown(comparison(read_runs(folders)))
    assert r"| a\|b\_c |" in text
    assert r"| \*\<d>\` |" in text


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    folders = ["x/one/run", "y/one/run", "y/two/run", "other"]
    names = [run.name for run in read_runs([run_folder(tmp_path / folder) for folder in folders])]
    assert names == ["x/one/run", "y/one/run", "two/run", "other"]


def test_relative_folders_have_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder(tmp_path / "here")
    run_folder(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "here")
    assert [run.name for run in read_runs([".", "../there"])] == ["here", "there"]


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"run '.*broken' is not a folder; name the output_dir of a training run"),
        (remove("metrics.csv"), r"run '.*broken' has no metrics.csv; read it after its first epoch"),
        (remove("args.txt"), r"run '.*broken' has no args.txt"),
        (remove("times.csv"), r"'.*broken/times.csv' does not exist"),
        (write("metrics.csv", b"\xff\xfe"), r"'.*metrics.csv' cannot be read"),
        (write("metrics.csv", HEAD.encode()), r"metrics.csv' has no rows"),
        (write("metrics.csv", b"epoch,lr\n1,2\n"), r"metrics.csv' lacks the column 'train_loss'"),
        (write("metrics.csv", HEAD.encode() + b"\n1,2,3,4,5,six,7,8\n"), r"has 'six' in the column 'test_top1'"),
        (
            write("args.txt", b"model: vgg11\nno flag\n"),
            r"args.txt' has 'no flag' in line 2, which must be `key: value`",
        ),
        (write("args.txt", b"\xff\xfe"), r"args.txt' cannot be read"),
        (write("times.csv", b"\xff\xfe"), r"'.*times.csv' cannot be read"),
        (write("times.csv", b"epoch,images_per_second\n1,2\n"), r"times.csv' lacks the column 'seconds'"),
    ],
)
def test_broken_runs_are_named(damage, message: str, tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name) for name in ("good", "broken")]
    damage(folders[1])
    with pytest.raises(InputError, match=message):
        read_runs(folders)


def test_numbers_that_are_not_told_are_unknown(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name) for name in ("good", "silent")]
    (folders[1] / "times.csv").write_text("epoch,seconds,images_per_second\n1,,\n")
    (folders[1] / "args.txt").write_text("model: vgg11\n")
    _, silent = read_runs(folders)
    assert all(math.isnan(value) for value in (silent.parameters, silent.gflops, silent.seconds))
    assert cells([silent], "s/epoch") == ("–",)


def test_fewer_than_two_runs_or_one_twice_are_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    with pytest.raises(InputError, match="1 run cannot be compared; name the folders of at least two"):
        read_runs([folder])
    with pytest.raises(InputError, match=r"run '.*run/\.' is given twice"):
        read_runs([f"{folder}/.", folder])


def test_strokes_differ_up_to_24_runs() -> None:
    assert len({stroke_of(number) for number in range(24)}) == 24


def colored_pixels(picture, number: int) -> int:
    color = stroke_of(number).color
    rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((abs(picture[..., :3] - rgb).max(axis=2) < 0.02).sum())


def test_the_picture_has_a_line_of_every_run(runs: list[Run], tmp_path: Path) -> None:
    picture = matplotlib.image.imread(draw_comparison(runs, tmp_path / "compare.png"))
    assert colored_pixels(picture, 0) > 500
    assert colored_pixels(picture, 1) > 500
    assert colored_pixels(picture, 2) > 100, "its loss is known"
    assert colored_pixels(picture, 3) == 0


HOSTILE = "<img src=x onerror=alert(1)>&amp;$x_1$--><b>"


@pytest.fixture
def page(tmp_path: Path) -> str:
    folders = [
        run_folder(tmp_path / "slow", (0.1, 0.2), K=16),
        run_folder(tmp_path / HOSTILE, (0.1, 0.3), K="</script><script>alert(2)</script>"),
        run_folder(tmp_path / "unknown", ("",), K=9),
        run_folder(tmp_path / "fast", (0.9, 0.8), K=4),
    ]
    return comparison_page(read_runs(folders))


def test_the_page_loads_nothing_and_escapes_all_text(page: str) -> None:
    assert page.count("<script") == page.count("</script") == 1
    assert "<img" not in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert HOSTILE in [unescape(name) for name in re.findall(r"<span>(.*?)</span>", page)]
    assert "<strong>90.00%</strong>" in page


def test_the_picture_on_the_page_takes_its_colours(page: str) -> None:
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert ": var(--ink)" in svg
    for color in ("#262626", "#8c8c8c", "#ececec", "#ffffff"):
        assert color not in svg
    assert stroke_of(0).color in svg
    assert "Test top-1 accuracy" in svg


@pytest.mark.slow
def test_the_same_runs_make_the_same_page(runs: list[Run]) -> None:
    assert comparison_page(runs) == comparison_page(runs)


@pytest.mark.xdist_group("browser")  # starting one takes seconds
def test_a_heading_sorts_the_table_by_mouse_and_keyboard(page: str, browser, tmp_path: Path) -> None:
    (tmp_path / "compare.html").write_text(page, encoding="utf-8")
    view = browser.new_page()
    complaints: list[str] = []
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("console", lambda message: complaints.append(message.text))
    view.on("dialog", lambda dialog: complaints.append(dialog.message))
    view.on("request", lambda request: complaints.append(request.url))
    view.goto((tmp_path / "compare.html").as_uri())

    def names() -> list[str]:
        return view.eval_on_selector_all("tbody th span", "all => all.map((one) => one.textContent)")

    view.get_by_role("button", name="best top-1").click()
    assert names() == ["fast", HOSTILE, "slow", "unknown"]
    assert view.locator("[aria-sort]").get_attribute("aria-sort") == "descending"
    view.keyboard.press("Enter")
    assert names() == ["slow", HOSTILE, "fast", "unknown"], "what is not known stays last"
    view.get_by_role("button", name="run", exact=True).focus()
    view.keyboard.press("Space")
    assert names() == [HOSTILE, "fast", "slow", "unknown"]
    assert view.locator("[aria-sort]").count() == 1
    assert complaints == [(tmp_path / "compare.html").as_uri()], "nothing but the page itself is loaded"


@pytest.mark.slow
def test_the_page_fits_a_phone(page: str, browser, tmp_path: Path) -> None:
    (tmp_path / "compare.html").write_text(page, encoding="utf-8")
    view = browser.new_page(viewport={"width": 360, "height": 720})
    view.goto((tmp_path / "compare.html").as_uri())
    assert view.evaluate("document.documentElement.scrollWidth") == 360
    assert not view.locator(".wide").is_visible()
    picture = view.locator(".narrow svg").bounding_box()
    assert picture["height"] > picture["width"] > 300
    view.set_viewport_size({"width": 1200, "height": 800})
    assert view.locator(".wide").is_visible()
    assert not view.locator(".narrow").is_visible()


@pytest.mark.slow
def test_the_command_writes_three_files_and_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [run_folder(tmp_path / "one"), run_folder(tmp_path / "[bold]two", K=4)]
    out = tmp_path / "out" / "comparison"
    assert main(["compare", *map(str, folders), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"compare.png", "compare.md", "compare.html"}
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("one", "[bold]two", "K=9", "K=4", "50.00%"))
    (out / "compare.md").write_text("mine")
    assert main(["compare", *map(str, folders), "--out", str(out)]) == 2
    assert f"--out={out} would replace '{out / 'compare.png'}'" in capsys.readouterr().err
    assert (out / "compare.md").read_text() == "mine"
    assert main(["compare", *map(str, folders), "--out", str(out), "--overwrite"]) == 0
    assert (out / "compare.md").read_text() != "mine"
    capsys.readouterr()
    assert main(["compare", str(folders[0])]) == 2
    assert capsys.readouterr().err == "convnn: 1 run cannot be compared; name the folders of at least two\n"
