"""What consoles show while something takes its time."""

import io

import pytest
from rich.console import Console

from convnn.screen import show_activity


@pytest.mark.parametrize("is_terminal", [True, False])
def test_activity_is_shown_on_a_terminal_alone(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=60)
    with show_activity(console, "counting the operations"):
        pass
    assert ("counting the operations" in console.file.getvalue()) == is_terminal
