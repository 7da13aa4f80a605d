import io
from dataclasses import replace

import pytest
from rich.console import Console

from convnn.train import ConsoleReport, EpochResult, Scores

RESULT = EpochResult(1, 2.0, 50.0, 1e-3, Scores(1.5, 0.25, 0.75), Scores(1.25, 0.5, 1.0), is_best=True)


def _report(*, terminal: bool) -> tuple[ConsoleReport, io.StringIO]:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=160, no_color=True)
    return ConsoleReport(console, num_epochs=3), screen


def _run_epoch(report: ConsoleReport) -> None:
    report.on_epoch_start(1, steps=4)
    for step in range(1, 5):
        report.on_step(step)
    report.on_epoch_end(RESULT)
    report.on_end()


def test_a_file_gets_one_plain_line_an_epoch_and_a_last_one() -> None:
    report, screen = _report(terminal=False)
    _run_epoch(report)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "epoch 1/3  train 1.5000 top-1 25.00%  test 1.2500 top-1 50.00% top-5 100.00%  50 images/s"
    )
    assert lines[0].endswith("left  best")
    assert lines[1].startswith("best test top-1 50.00% in epoch 1, after 0:00:0")
    assert "\x1b" not in screen.getvalue()


def test_a_line_of_few_classes_has_no_top_5() -> None:
    report, screen = _report(terminal=False)
    few = Scores(1.25, 0.5, None)
    report.on_epoch_end(replace(RESULT, train=few, test=few))
    assert "top-1 50.00%  50 images/s" in screen.getvalue()


def test_val_is_told_after_every_epoch_and_test_at_the_end() -> None:
    few = Scores(1.0, 0.25, None)
    for test, val, of_test, of_val in (
        (RESULT.test, RESULT.train, "test 1.2500 top-1 50.00% top-5 100.00%", "val 1.5000 top-1 25.00% top-5 75.00%"),
        (few, few, "test 1.0000 top-1 25.00%", "val 1.0000 top-1 25.00%"),
    ):
        report, screen = _report(terminal=False)
        result = replace(RESULT, test=test, val=val)
        report.on_epoch_end(result)
        report.on_test(result)
        first, last = screen.getvalue().splitlines()
        assert f"  {of_val}  50 images/s" in first
        assert last == f"{of_test} of epoch 1, the best on val"


def test_broken_images_are_counted_in_words_and_named_as_they_are() -> None:
    report, screen = _report(terminal=False)
    report.on_broken_images(["cannot read the image a[v2]/b[/bold]:smile:.png"])
    assert screen.getvalue() == "skipped 1 image so far: cannot read the image a[v2]/b[/bold]:smile:.png\n"


def test_a_terminal_gets_a_bar_too() -> None:
    report, screen = _report(terminal=True)
    _run_epoch(report)
    assert "4/4" in screen.getvalue()
    assert report.bar is None


def test_the_bar_leaves_the_screen_when_training_breaks() -> None:
    report, screen = _report(terminal=True)
    report.on_epoch_start(1, steps=4)
    assert report.bar is not None
    report.stop()
    assert report.bar is None
    assert "\x1b[?25h" in screen.getvalue(), "the cursor is back"


@pytest.mark.parametrize("terminal", [False, True])
def test_stopping_twice_is_fine(terminal: bool) -> None:
    report, _ = _report(terminal=terminal)
    report.stop()
    report.stop()
    assert report.bar is None
