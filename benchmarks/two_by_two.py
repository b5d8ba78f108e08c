"""
What a head adds, with augmented batches and without together: twice the runs of either comparison alone.

    python -m benchmarks.two_by_two runs/CarRacing-v2 --head cpc

The head's effect is the mean of two differences of means, ``cpc`` less ``none`` and ``aug+cpc`` less ``aug``; that of the
augmentation in the same way, ``aug`` less ``none`` and ``aug+cpc`` less ``cpc``. With ``--compute`` as much more training
takes the place of plain training: ``compute`` for ``none`` and ``aug+compute`` for ``aug``. The p-value is exact: how many of
all ways to deal the runs of each difference to its two arms give an effect as large, either way (Edgington 1980,
"Randomization Tests", with blocks).
"""

import argparse
import json
from collections.abc import Sequence
from math import comb, prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cpc_rl.evaluation.arms import group_arms
from cpc_rl.evaluation.cells import table
from cpc_rl.evaluation.intervals import all_differences, as_large
from cpc_rl.evaluation.pairs import MEASURES, measured
from cpc_rl.evaluation.sources import find_sources, read_sources

MOST_DEALS = 5_000_000
Block = tuple[np.ndarray, np.ndarray]  # runs of the arm that has it, and of the one that has not, (n,) and (m,)


class Effect(NamedTuple):
    """A mean of differences between means, in the runs' own units, and how often chance gives one as large."""

    estimate: float
    p_value: float


def effect(blocks: Sequence[Block]) -> Effect:
    """
    :param blocks: each counts the same, however many runs it has
    :raises ValueError: if there are more than five million deals to go through
    """
    deals = prod(comb(len(mine) + len(theirs), len(mine)) for mine, theirs in blocks)
    if deals > MOST_DEALS:
        raise ValueError(f"These runs can be dealt in {deals:,} ways, but at most {MOST_DEALS:,} are gone through.")
    found = np.zeros(1)
    for block in blocks:
        found = np.add.outer(found, all_differences(*block) / len(blocks)).ravel()
    return Effect(float(found[0]), float(as_large(found, found[0]).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="<log-dir>/<environment>, or tables of runs; of one algorithm")
    parser.add_argument("--head", default="cpc", help="the objective; its arms are HEAD and aug+HEAD")
    parser.add_argument("--compute", action="store_true", help="hold it against as much more training: compute, aug+compute")
    arguments = parser.parse_args()
    head, both = arguments.head, f"aug+{arguments.head}"
    plain, augmented = ("compute", "aug+compute") if arguments.compute else ("none", "aug")
    needed = (plain, augmented, head, both)
    try:
        runs_of = read_sources([source for path in arguments.sources for source in find_sources(path)], needed)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    where = ", ".join(map(str, arguments.sources))
    if len(runs_of) > 1:
        raise SystemExit(f"{where}: runs on {', '.join(runs_of)}, but one environment at a time is looked at.")
    finished = [run for runs in runs_of.values() for run in runs if run.status == "finished"]
    if len({run.algorithm for run in finished}) > 1:
        raise SystemExit(f"{where} has runs of several algorithms, but one at a time is looked at: move the others.")
    arms = {arm.arm: arm for arm in group_arms(finished)}
    missing = [name for name in needed if name not in arms]
    if missing:
        raise SystemExit(f"{where} has no finished run of {', '.join(missing)}, and all four arms are needed.")
    rows, figures = [], {}
    for name, pairs in {head: ((head, plain), (both, augmented)), "aug": ((augmented, plain), (both, head))}.items():
        for measure, words in MEASURES.items():
            runs = {arm: measured(arms[arm], measure)[:, 0] for arm in arms}
            blocks = [(runs[with_it], runs[without]) for with_it, without in pairs]
            found = effect(blocks)
            counts = " and ".join(str(sum(len(block[side]) for block in blocks)) for side in (0, 1))
            figures[f"{name} {measure}"] = {"effect": round(found.estimate, 4), "p": found.p_value}
            rows.append([f"`{name}`", words, counts, f"{found.estimate:+.4g}", f"{found.p_value:.2g}"])
    print(table(["what it adds", "measure", "runs with and without", "effect", "p"], rows))
    print(f"\n{json.dumps({'benchmark': 'two_by_two', 'effects': figures})}")


if __name__ == "__main__":
    main()
