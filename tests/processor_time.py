"""`pytest --processor-time`: the processor seconds of tests, with those of processes that they wait for.

The forks of `launch.py` are not among them: their parent is the server of forks, which ends with the run.
"""

import os
from collections import Counter
from collections.abc import Callable, Generator

import pytest

NAMES: dict[str, Callable[[str], str]] = {
    "folder": lambda test: test.partition("::")[0].rpartition("/")[0],
    "file": lambda test: test.partition("::")[0],
    "function": lambda test: test.partition("[")[0].partition("@")[0],
}
LINES = 20000

_counted = 0.0
"""Processor seconds of this process that are counted already."""


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--processor-time",
        nargs="?",
        const="file",
        choices=NAMES,
        help=f"processor seconds of the {LINES} dearest folders, files (the default) or functions",
    )


def uncounted() -> float:
    """Return the processor seconds since the last call: what is between two reports belongs to the second."""
    global _counted
    before, _counted = _counted, sum(os.times()[:4])
    return _counted - before


def pytest_collection_finish() -> None:
    uncounted()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    report.processor_seconds = uncounted()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    kind = config.getoption("--processor-time")
    if kind is None:
        return
    seconds, tests = Counter[str](), Counter[str]()
    reports = [one for group in terminalreporter.stats.values() for one in group if isinstance(one, pytest.TestReport)]
    for report in reports:
        name = NAMES[kind](report.nodeid)
        seconds[name] += getattr(report, "processor_seconds", 0.0)  # none where a worker died
        tests[name] += report.when == "call"
    terminalreporter.section("processor time")
    terminalreporter.write_line(f"{seconds.total():8.1f} s, {tests.total():5} tests")
    for name, one in seconds.most_common(LINES):
        terminalreporter.write_line(f"{one:8.1f} s, {tests[name]:5} tests, {name}")
