"""Reference scores, which put the returns of different tasks on one scale."""

import csv
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

SHIPPED = {"atari": "atari100k.csv", "control": "control.csv"}
COLUMNS = ("task", "low", "high")


@dataclass(frozen=True)
class Reference:
    """
    What counts as 0 and as 1 on a task: for Atari a random agent's and a human's score.

    :param task: an environment's id or a game's name; ``*`` stands for anything
    :param low: return that becomes 0
    :param high: return that becomes 1, above ``low``
    """

    task: str
    low: float
    high: float

    def normalised(self, returns: np.ndarray) -> np.ndarray:
        """Returns of any shape as scores of the same shape, float64, neither end cut off."""
        return (np.asarray(returns, dtype=np.float64) - self.low) / (self.high - self.low)

    def raw(self, score: float) -> float:
        """The return that has this score."""
        return self.low + score * (self.high - self.low)


@dataclass(frozen=True)
class References:
    """
    A table of them.

    :param name: as it was asked for: the name of a shipped table, or a file
    """

    name: str
    rows: tuple[Reference, ...]

    def find(self, env_id: str) -> Reference | None:
        """The first row that means an environment: its id, the id behind the namespace, or an Atari game's bare name."""
        names = (env_id, env_id.rpartition("/")[2], game_name(env_id))
        return next((row for row in self.rows if any(fnmatchcase(name, row.task) for name in names)), None)


def game_name(env_id: str) -> str:
    """``Pong`` of ``ALE/Pong-v5``, ``PongNoFrameskip-v4`` and ``Pong-v5``."""
    return re.sub(r"(NoFrameskip|Deterministic)?-v\d+$", "", env_id.rpartition("/")[2])


def load_references(name: str) -> References:
    """
    Read a table.

    :param name: ``atari`` (random and human scores of the 26 games of Atari 100k, Kaiser et al. 2020,
        https://arxiv.org/abs/1903.00374), ``control`` (a random agent's return and the highest one, or the one at which
        Gymnasium calls the task solved), or a CSV file with the columns task, low and high
    :raises ValueError: neither, or a table that makes no sense
    """
    file = Path(__file__).parent / SHIPPED[name] if name in SHIPPED else Path(name)
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(SHIPPED)
        raise ValueError(f"Reference scores are {names} or a CSV file; {name!r} cannot be read: {error}.") from None
    return References(name, tuple(_read_row(row, f"Line {number} of {file}") for number, row in enumerate(rows, start=2)))


def choose_references(env_ids: Collection[str], name: str | None = None) -> References:
    """
    The table named, or the shipped ones together. Nothing is taken from the runs themselves: an end that one arm's runs set
    would move with that arm.

    :param env_ids: all tasks
    :return: those without a row have no reference there, and are left out by :func:`~cpc_rl.evaluation.tasks.make_tasks`
    :raises ValueError: no task has a row
    """
    tables = [load_references(table) for table in ([name] if name else SHIPPED)]
    references = References(", ".join(table.name for table in tables), tuple(row for table in tables for row in table.rows))
    if all(references.find(env_id) is None for env_id in env_ids):
        raise ValueError(
            f"There are no reference scores for {', '.join(dict.fromkeys(env_ids))} in {references.name}; "
            "give --normalise a CSV file with the columns task, low, high and a row for each task, or report on one "
            "environment, which needs none."
        )
    return references


def _read_row(row: dict[str, str], where: str) -> Reference:
    try:
        reference = Reference(row["task"], float(row["low"]), float(row["high"]))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{where} should hold {', '.join(COLUMNS)}, the latter two numbers.") from None
    if not -math.inf < reference.low < reference.high < math.inf:
        raise ValueError(f"{where} should have a finite low below its finite high, and has {row['low']} and {row['high']}.")
    return reference
