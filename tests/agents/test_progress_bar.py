"""The progress bar is drawn less often where each drawing stays: in a file."""

import io
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.training import BAR_SECONDS, LOGGED_BAR_SECONDS, RunCallback


class Stream(io.StringIO):
    """Standard error that is a terminal, or a file."""

    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(("terminal", "seconds"), [(True, BAR_SECONDS), (False, LOGGED_BAR_SECONDS)])
def test_the_bar_is_drawn_more_seldom_into_a_file(terminal: bool, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    callback = RunCallback(cast(Any, None), cast(Any, SimpleNamespace(timesteps=100, eval_freq=50)), cast(Any, None), None)
    callback._on_training_start()
    assert callback.bar is not None and callback.bar.mininterval == seconds
    callback.close()
    assert "0/100" in stream.getvalue()
