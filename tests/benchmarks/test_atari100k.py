"""What is committed of Atari 100k: the transcribed scores, the finished runs, and the table that comes of them."""

import csv

import numpy as np
import pytest

from benchmarks.atari100k import ARMS, GAMES, PUBLISHED_GAMES, find_runs, games_table
from cpc_rl.evaluation.references import load_references

COMMITTED = PUBLISHED_GAMES.parent


@pytest.mark.parametrize(
    ("agent", "mean", "median"), [("CURL", 0.261, 0.092), ("SPR", 0.616, 0.396), ("SR-SPR", 1.271, None), ("BBF", 2.247, None)]
)
def test_the_scores_by_game_give_the_published_aggregates(agent: str, mean: float, median: float | None) -> None:
    with open(PUBLISHED_GAMES, encoding="utf-8", newline="") as file:
        scores = {row["game"]: float(row[agent]) for row in csv.DictReader(file)}
    assert set(scores) == set(GAMES)
    normalised = [float(row.normalised(np.array(scores[row.task]))) for row in load_references("atari").rows]
    assert np.mean(normalised) == pytest.approx(mean, abs=6e-4)
    assert median is None or np.median(normalised) == pytest.approx(median, abs=6e-4)


def test_the_committed_table_is_of_the_committed_runs() -> None:
    runs = {game: every for game, every in find_runs(COMMITTED / "finished", "qrdqn").items() if every}
    assert all(run.status == "finished" and run.final["episodes"] == 100 for every in runs.values() for run in every)
    whole = {game: every for game, every in runs.items() if {run.arm for run in every} >= set(ARMS)}
    assert whole and games_table(whole, list(ARMS)) in (COMMITTED / "scores.md").read_text(encoding="utf-8")
