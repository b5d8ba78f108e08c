"""Two sets of runs that are not mixed: differences within each, and every deal of both."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import blocks as benchmark
from tests.evaluation.folders import ENV, make_arm


def test_sets_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for place, none, cpc in (("old", (10, 12), (20, 21)), ("new", (100, 110), (112, 115))):
        make_arm(tmp_path / place, "none", none)
        make_arm(tmp_path / place, "cpc", cpc)
    places = [str(tmp_path / place / ENV) for place in ("old", "new")]
    monkeypatch.setattr(sys, "argv", ["blocks", *places])
    benchmark.main()
    *lines, _, figures = capsys.readouterr().out.splitlines()
    assert "| final return on unseen episodes | 2 and 2, 2 and 2 | +9.5, +8.5 | +9 | 0.056 |" in lines
    assert json.loads(figures)["effects"]["final"]["p"] == pytest.approx(2 / (6 * 6))  # this deal and its mirror
    monkeypatch.setattr(sys, "argv", ["blocks", *places, "--arm", "curl"])
    with pytest.raises(SystemExit, match=r"old/Toy-v0 has no finished run of curl\."):
        benchmark.main()
