"""What is told of a run that has failed: the exception of its traceback, or its last line."""

from pathlib import Path

import pytest

from agents.run_log import last_words, read_end

CHAINED = """
Traceback (most recent call last):
  File "first.py", line 1, in <module>
KeyError: 'step'

During handling of the above exception, another exception occurred:

 33%|███▎      | 32/96 [00:00<00:00]\r 67%|██████▋   | 64/96 [00:00<00:00]Traceback (most recent call last):
  File "second.py", line 7, in learn
    raise ValueError("Expected parameter logits ...
          ^^^^^^^^^^
ValueError: Expected parameter logits (Tensor of shape (8, 3)) to satisfy the constraint, but found invalid values:
tensor([[nan, nan, nan],
        [nan, nan, nan]], grad_fn=<SubBackward0>)
"""
EXCEPTION = (
    "ValueError: Expected parameter logits (Tensor of shape (8, 3)) to satisfy the constraint, but found invalid values:"
)
NUMBERS = 768 * "        [nan, nan, nan],\n"  # more than is looked at while a run is under way


@pytest.mark.parametrize(
    ("log", "status", "said"),
    [
        (CHAINED, 1, EXCEPTION),
        (CHAINED + NUMBERS, 1, EXCEPTION),
        (CHAINED, 2, "[nan, nan, nan]], grad_fn=<SubBackward0>)"),
        (CHAINED, None, "[nan, nan, nan]], grad_fn=<SubBackward0>)"),
        (CHAINED + "Exception ignored in: <function f>\nTraceback (most recent call last):\nTypeError: late\n", 1, EXCEPTION),
        ("one\n  two \r\n\n", 1, "two"),
        ("Traceback (most recent call last):\n  File cut off", 1, "File cut off"),
        ("", 1, ""),
    ],
)
def test_last_words(log: str, status: int | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(log)
    assert last_words(tmp_path / "log", status) == said


def test_an_earlier_attempt_is_not_quoted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(CHAINED + "no display\n")
    assert last_words(log, 1) == EXCEPTION
    assert last_words(log, 1, len(CHAINED.encode())) == "no display"
    assert last_words(log, 1, log.stat().st_size) == ""


def test_no_log_that_can_be_read(tmp_path: Path) -> None:
    assert read_end(tmp_path) == read_end(tmp_path / "nowhere") == last_words(tmp_path, 1) == ""
