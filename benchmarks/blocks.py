"""
One arm over another in several sets of runs at once, such as those of two commits, which are not to be mixed.

    python -m benchmarks.blocks benchmarks/results/car_racing/finished benchmarks/results/car_racing/own-seeds/finished \
        --arm cpc --over none

The effect is the mean of the sets' differences of means, each set counting the same, and the p-value exact: runs are dealt to
the two arms within each set (:func:`benchmarks.two_by_two.effect`).
"""

import argparse
import json
from pathlib import Path

from benchmarks.two_by_two import effect
from cpc_rl.evaluation.arms import ArmRuns, group_arms
from cpc_rl.evaluation.cells import digits, table
from cpc_rl.evaluation.pairs import MEASURES, measured
from cpc_rl.evaluation.sources import read_source


def read_arms(source: Path, arm: str, over: str) -> tuple[ArmRuns, ArmRuns]:
    """
    The finished runs of two arms.

    :param source: one set of runs: an environment's folder, or a table
    :raises ValueError: an arm has no finished run there
    """
    arms = {each.arm: each for each in group_arms([run for run in read_source(source) if run.arm in (arm, over)])}
    missing = [name for name in (arm, over) if name not in arms or not arms[name].runs]
    if missing:
        raise ValueError(f"{source} has no finished run of {', '.join(missing)}.")
    return arms[arm], arms[over]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="<log-dir>/<environment>, or a table of runs; a set each")
    parser.add_argument("--arm", default="cpc")
    parser.add_argument("--over", default="none")
    arguments = parser.parse_args()
    try:
        sets = [read_arms(source, arguments.arm, arguments.over) for source in arguments.sources]
    except ValueError as error:
        raise SystemExit(str(error)) from error
    rows, figures = [], {}
    for measure, words in MEASURES.items():
        blocks = [(measured(mine, measure)[:, 0], measured(theirs, measure)[:, 0]) for mine, theirs in sets]
        found = effect(blocks)
        each = ", ".join(digits(float(mine.mean() - theirs.mean()), sign="+") for mine, theirs in blocks)
        counts = ", ".join(f"{len(mine)} and {len(theirs)}" for mine, theirs in blocks)
        figures[measure] = {"effect": round(found.estimate, 4), "p": found.p_value}
        rows.append([words, counts, each, digits(found.estimate, sign="+"), f"{found.p_value:.2g}"])
    print(f"`{arguments.arm}` over `{arguments.over}`\n")
    print(table(["measure", "runs of each set", "difference in each", "together", "p"], rows))
    print(f"\n{json.dumps({'benchmark': 'blocks', 'arm': arguments.arm, 'over': arguments.over, 'effects': figures})}")


if __name__ == "__main__":
    main()
